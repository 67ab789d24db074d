# %% [markdown]
# # SAR basics: power, decibels, looks and speckle
#
# SAR is *synthetic aperture radar*: a radar on a satellite or an aircraft that makes images, by day and night and through clouds.
#
# **What you will do.** Make the grain of a radar image from nothing but random phases, measure it, calm it with filters that you write
# yourself, and tilt a mountain until it folds over in the image.
#
# **What you will learn.** What a pixel of a radar image is, why it is grainy even where the ground is even, what *looks* are, what a
# decibel does to an average, how speckle filters work, and where slopes go.
#
# **What you need.** About 35 minutes, no earlier notebook. `DATA = "synthetic"` needs nothing; `DATA = "sample"` uses a real
# Sentinel-1 image (1.5 MB); a path uses your own GeoTIFF. `PRESET` says how large things are; `laptop` is the normal size.

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of your own GeoTIFF with VV and VH

# %% [markdown]
# We bring in the tools: `sartutor.sar` computes, `sartutor.sim` makes scenes, `sartutor.lab` draws and checks.

# %%
import numpy as np
from scipy import ndimage, special

from sartutor.lab import data, explorers, plots
from sartutor.lab.checks import check
from sartutor.sar import radiometry, speckle, speckle_law, terrain
from sartutor.sim import sensor

numbers = {}
rng = np.random.default_rng(SEED)

# %% [markdown]
# ## 1 · One pixel, many echoes
#
# A radar sends a wave and listens. **Synthetic aperture** means that it adds up the echoes of a stretch of its flight, so that a small
# antenna sees as sharply as one as long as that stretch. A pixel is then some metres wide. The wave is some *centimetres* long: 24 at
# L-band (ALOS-2), 5.6 at C-band (Sentinel-1), 3 at X-band (the letters are the radio engineers' names for wavelengths).
#
# So a pixel holds thousands of stones, leaves and clods, and each sends back an echo. An echo has a strength $a_k$ and a **phase**
# $\varphi_k$: the point of its swing at which the wave arrives. One stone a few centimetres farther away, and its phase is another. The
# pixel is the sum of all $N$ echoes, a complex number:
#
# $$z = \frac{1}{\sqrt N}\sum_{k=1}^{N} a_k\, e^{i\varphi_k}, \qquad I = |z|^2.$$
#
# $I$ is the **power** (or intensity), $|z|$ the **amplitude**. Nobody knows the phases; they are as good as random. Let us add
# 50 echoes of equal strength in each of 128 x 128 pixels.


# %%
def one_look(rng, shape, echoes=50):
    z = np.zeros(shape, complex)
    for _ in range(echoes):
        z += np.exp(1j * rng.uniform(0, 2 * np.pi, shape))
    return z / np.sqrt(echoes)


z = one_look(rng, (128, 128))
power = np.abs(z) ** 2
print(f"mean power {power.mean():.3f}, standard deviation {power.std():.3f}")
print(f"the strongest pixel is {power.max():.1f} times the mean, the weakest 1/{1 / power.min():,.0f} of it")

# %% [markdown]
# Every pixel holds the same number of the same echoes, and yet the image is full of grain. That grain is **speckle**. It is no
# noise of the receiver: it is interference, and it would be the same again if the radar flew exactly the same way
# and no stone or leaf had moved or become wet. After days much has, and most of the grain is new.
#
# The sum of many independent echoes is a complex Gaussian number, and its power follows an **exponential law** [1]: its standard deviation
# equals its mean. The package draws such numbers directly. Both have the same law. Left below: the brightness of even ground, in
# decibels (explained in section 3). Right: the phase, pure chance; a single phase tells nothing.

# %%
direct = np.abs(sensor.circular_gaussian(rng, (128, 128), psf_px=0)) ** 2
for level in (0.1, 1, 3):
    shares = [np.mean(values > level) for values in (power, direct)]
    print(
        f"share of pixels above {level:>3}: {shares[0]:.3f} and {shares[1]:.3f}, the law says {np.exp(-level):.3f}"
    )
    assert np.allclose(shares, np.exp(-level), atol=0.02)
pictures = plots.panels(2)
plots.show_image(pictures[0], 10 * np.log10(power), "power of 50 equal echoes", limits=(-15, 8))
plots.show_image(pictures[1], np.angle(z), "their phase", "radian", limits=(-np.pi, np.pi))

# %% [markdown]
# ## 2 · Looks
#
# How bright is the ground really? One pixel does not tell. So the images that agencies deliver average several independent views,
# called **looks**, in power:
#
# $$I_L = \frac{1}{L}\sum_{l=1}^{L} |z_l|^2 .$$
#
# The mean $\mu$ stays, the standard deviation $\sigma$ falls: $\sigma = \mu / \sqrt{L}$. Turned round, this is how looks are *measured*
# on an even area, the **equivalent number of looks**:
#
# $$\mathrm{ENL} = \frac{\mu^2}{\sigma^2}.$$


# %%
def enl(power):
    return power.mean() ** 2 / power.var()


for looks in (1, 4, 16):
    views = [np.abs(one_look(rng, (128, 128))) ** 2 for _ in range(looks)]
    average = np.mean(views, axis=0)
    assert np.isclose(enl(average), speckle.enl(average))
    numbers[f"enl_of_{looks}_looks"] = float(enl(average))
    print(f"{looks:>2} looks: mean {average.mean():.3f}, ENL {enl(average):5.2f}")

# %% [markdown]
# The power of $L$ looks follows the **gamma law** of order $L$ and mean $\mu$ [1]. Move the sliders: more looks, a narrower law. Then blur
# the sensor: neighbours become alike, the grain grows coarse, and the histogram does not change.

# %%
explorers.speckle_explorer(SEED)

# %% [markdown]
# What did the blur do? No sensor is perfectly sharp: a point becomes a small spot, and pixels closer than the spot share echoes. Each
# pixel keeps its law, but neighbours are no longer independent. So averaging 5 x 5 pixels gives less than 25 times the looks:

# %%
for name, psf in (("perfectly sharp", 0.0), ("like Sentinel-1", sensor.SENSORS["sentinel1"].psf_px)):
    grain = sensor.speckle(rng, (256, 256), 4, psf)
    smooth = ndimage.uniform_filter(grain, 5)[4:-4, 4:-4]
    numbers[f"gain_of_5x5_{name}"] = float(enl(smooth) / enl(grain))
    print(
        f"{name}: ENL {enl(grain):.1f} becomes {enl(smooth):5.1f}, {enl(smooth) / enl(grain):.1f} times as much"
    )

# %% [markdown]
# ## 3 · Decibels
#
# Between a calm lake and a city lies a factor of a thousand and more. People therefore look at **decibels** (dB), $10\log_{10} I$: ten more is
# ten times the power, three more about twice. Speckle *multiplies* the power, so bright ground is grainier than dark ground. The
# logarithm turns this into a *sum*: in decibels the grain is equally strong everywhere, which helps neural networks. But the
# logarithm bends, and so the mean of the decibels lies too low. For $L$ looks the error, or **bias**, is [1]
#
# $$\mathbb{E}[10\log_{10} I_L] - 10\log_{10}\mu = \frac{10}{\ln 10}\,\bigl(\psi(L) - \ln L\bigr),$$
#
# with the digamma function $\psi$. One line of Python; the package has the same, and a simulation agrees:


# %%
def bias_db(looks):
    return 10 / np.log(10) * (special.digamma(looks) - np.log(looks))


print("looks   bias by the law   simulated (dB)")
for looks in (1, 2, 4, 16):
    grain = sensor.speckle(rng, (256, 256), looks, 0.0)
    simulated = np.mean(10 * np.log10(grain)) - 10 * np.log10(grain.mean())
    assert np.isclose(bias_db(looks), speckle_law.log_bias_db(looks))
    assert np.isclose(simulated, bias_db(looks), atol=0.1)
    print(f"{looks:>5}{bias_db(looks):>15.2f}{simulated:>18.2f}")
numbers["bias_db_one_look"] = float(bias_db(1))

# %% [markdown]
# The rule of this whole tutorial follows: **average in power, look in decibels.** It holds for filters, for resizing, for
# the mean of a field. A constant cannot mend a wrong average afterwards, because real ground is uneven and not of one $L$.
#
# ## 4 · A speckle filter in six lines
#
# Averaging everywhere also blurs edges. Lee's filter [2] asks at every pixel whether its neighbourhood varies more than speckle
# alone would make it vary. If not, take the local mean $M$; if so, keep the pixel:
#
# $$R = M + W\,(I - M), \qquad W = 1 - \frac{C_u^2}{C_I^2}, \qquad C_u^2 = \frac1L, \quad C_I = \frac{\text{local standard deviation}}{M}.$$
#
# $C_I$ is called the coefficient of variation, $C_u$ is what speckle of $L$ looks alone makes of it, and $W$ is clipped to [0, 1]. We try
# it on a scene of two even halves, 6 dB apart.


# %%
def lee(power, looks, size=7):
    mean = ndimage.uniform_filter(power, size)
    variance = ndimage.uniform_filter(power**2, size) - mean**2
    variation = np.maximum(variance, 1e-12) / mean**2
    weight = np.clip(1 - (1 / looks) / variation, 0, 1)
    return mean + weight * (power - mean)


clean, noisy = explorers.step_scene(looks=4, seed=SEED)
ours = lee(noisy.astype(np.float64), 4)
package = speckle.lee(noisy, 4)
assert np.allclose(ours[8:-8, 8:-8], package[8:-8, 8:-8], rtol=1e-3)
print("our six lines and the package agree")

# %% [markdown]
# Lee, Kuan, Frost, Gamma-MAP and the others differ in how they weigh the pixel against its neighbours; the boxcar, the plain mean,
# weighs them all alike. Choose one, change the window, and watch two things: the ENL on the even left half, and how steep the profile
# across the edge stays. (The refined Lee filter always uses 7 pixels.)

# %%
explorers.filter_explorer(SEED)

# %% [markdown]
# Numbers instead of impressions. For every filter: the ENL on the even half, how far the mean is moved (dB), and the error beside
# the edge (root mean square over the six columns around it, in dB of the mean profile).

# %%
even, edge = np.s_[16:-16, 12:52], np.s_[:, 61:67]
print(f"{'filter':14}{'ENL':>7}{'mean moved':>12}{'edge error':>12}   (dB)")
for name, run in {"none": lambda power, *_: power, **speckle.FILTERS}.items():
    result = run(noisy, 4, 7, None)
    moved = 10 * np.log10(result[even].mean() / noisy[even].mean())
    profile, truth = result[edge].mean(0), clean[edge].mean(0)
    error = float(np.sqrt(np.mean((10 * np.log10(profile / truth)) ** 2)))
    numbers[name] = {"enl": speckle.enl(result[even]), "moved_db": float(moved), "edge_error_db": error}
    print(f"{name:14}{numbers[name]['enl']:7.1f}{moved:12.2f}{error:12.2f}")

# %% [markdown]
# There is no free lunch: the boxcar calms most and smears most, the refined Lee filter keeps the edge best and leaves most grain, the
# others lie between. Neural networks see enough neighbours to learn their own filter; the avalanche study of this tutorial [3] tried Lee
# and then left it out. For thresholds, for people's eyes and for statistics a filter is worth its price.
#
# ## 5 · A whole image
#
# Now an image. The synthetic one is no landscape: it shows drawn shapes on patchy ground. The sample is a flooded plain in Spain, where
# water is dark and towns are bright. `VV` says how the wave swings: sent vertically, received vertically.
#
# First its looks. Nobody tells us which parts are even, so the package takes the ENL in every small window and looks for the value that
# most windows share. Beside it stands the careless way, one ratio for the whole scene. The estimate comes out high where neighbouring
# pixels resemble each other, as they do in real images: a window then holds less grain than its pixels would tell. So where a
# product states its looks, believe the product: 4.4 for the kind of Sentinel-1 image that the sample was cut from.

# %%
example = data.sentinel1(DATA, PRESET, SEED)
scene = radiometry.to_units(example.scene.read(), "power")
print(example.credit)
vv = scene.band("VV")
looks = speckle.estimate_looks(vv, scene.valid)
numbers["looks_of_the_scene"] = float(looks)
whole = speckle.enl(vv, scene.valid)
print(
    f"looks of the scene: {looks:.1f}; mean^2/variance of the whole scene: {whole:.2f}, which says how mixed it is"
)

# %% [markdown]
# Filtered in power, shown in decibels: the grain calms down, the borders stay. An adaptive filter may move the
# mean power of a real scene by some per cent, as it treats bright and dark grain differently; so look.

# %%
filtered = speckle.filter_scene(scene, "lee", 4.4 if DATA == "sample" else looks)
kept = filtered.band("VV")[scene.valid].mean(dtype=float) / vv[scene.valid].mean(dtype=float)
print(
    *filtered.notes[-len(scene.bands) :],
    f"mean power of VV after the filter: {kept:.1%} of what it was",
    sep="\n",
)
shown = [radiometry.power_to_db(s.band("VV")) for s in (scene, filtered)]
limits = tuple(np.percentile(shown[0][scene.valid], (2, 98)))
for axes, values, title in zip(plots.panels(2), shown, ("VV as it is", "VV, Lee 7 x 7"), strict=True):
    plots.show_image(axes, values, title, "dB", scene.valid, limits)

# %% [markdown]
# How a picture looks depends on which value is black and which is white. Move the two ends of the range (orange in the histogram);
# values outside it are **clipped**, plain black or white. Then switch to power and see why nobody shows radar images that way.

# %%
explorers.stretch_explorer(shown[0], scene.valid)

# %% [markdown]
# ## 6 · A radar looks sideways
#
# A camera sorts what it sees by direction; a radar sorts by **distance**. It looks down at an angle, the **incidence angle**
# $\theta$ from the vertical, and measures how far away every echo is. This distance along the beam is the **slant range**. A place at
# height $h$ and ground distance $x$ appears, but for a constant, at
#
# $$r = x\,\sin\theta - h\,\cos\theta .$$
#
# So mountains lean towards the radar. Where a slope is steeper than $\theta$, its top answers *before* its foot: the order is reversed and
# several places share one pixel. That is **layover**. Behind a steep mountain no beam arrives: **shadow**.
#
# Above you see the mountain to scale, below the image that a radar makes of it. A, B and C are three places; look where they land.
# With a steep beam (15 degrees) B comes before A. With a flat one (60 degrees) and a high mountain, C goes dark.

# %%
explorers.geometry_explorer()

# %% [markdown]
# Even where nothing folds, slopes that face the radar are brighter, for two reasons. First, a pixel holds more ground, as the beam sees it: the
# area across the beam [4]. It depends on how steeply the ground climbs *along the beam* alone; a slope across it widens the ground as
# much as it turns it away. Second, each piece of that area may itself scatter more when it is hit more squarely. That depends on the **local incidence angle** between the beam and the normal $\mathbf{n}$ of
# the slope, the direction that stands upright on it: $\cos\theta_{\mathrm{loc}} = \mathbf{n}\cdot\mathbf{l}$, with the unit vector
# $\mathbf{l}$ to the sensor. On a plane that climbs 20 degrees in the direction of the beam it is simply 20 degrees less:


# %%
def local_incidence(east, north, view):
    normal = np.stack([-east, -north, np.ones_like(east)]) / np.sqrt(1 + east**2 + north**2)
    return np.degrees(np.arccos(np.tensordot(view.to_sensor(), normal, 1)))


view = terrain.View(incidence_deg=39.0, look_azimuth_deg=90.0)  # the beam travels east
columns = np.broadcast_to(np.arange(40.0), (40, 40))
for climb in (-20, 0, 20):
    height = (10 * np.tan(np.radians(climb)) * columns).astype(np.float32)
    rise = terrain.gradient(height, (10.0, 10.0))
    angle = terrain.local_incidence(rise, view)
    assert np.allclose(angle, local_incidence(*rise.astype(float), view), atol=0.01)
    print(f"ground that climbs {climb:+} degrees along the beam: local incidence {angle[20, 20]:.1f} degrees")

# %% [markdown]
# ## Where it fails
#
# - **ENL of a mixed area** measures the mixture, not the speckle. Choose even ground, or a robust estimate, as in section 5.
# - **Texture.** Forests and cities vary more than speckle. The power of forests often follows the *K law* (Jakeman and Pusey, 1976),
#   speckle times an uneven ground, and not the gamma law; cities, with a few very strong reflectors, vary more still. A filter that believes in speckle alone keeps that texture as if it were an edge. Here is how far four looks
#   seem to fall; the smaller the order of the texture, the more uneven the ground.

# %%
for order in (np.inf, 8.0, 2.0):
    grain = sensor.speckle(rng, (256, 256), 4, 0.0)
    if np.isfinite(order):
        grain = grain * sensor.texture(rng, (256, 256), order, 3.0)
    expected = 1 / (1 / 4 + 1 / order + 1 / (4 * order))
    print(f"4 looks, texture of order {order:>4}: ENL {enl(grain):.2f}, expected {expected:.2f}")

# %% [markdown]
# - **A filter invents nothing, but hides much.** Small objects of a few pixels vanish in a 7 x 7 window unless they are very bright.
# - **Shadow and layover cannot be repaired**, only marked. Two pixels that became one stay one.
#
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** A Sentinel-1 product has about 4.4 looks. How large is the standard deviation of the power on an even field, as a share of
# its mean?

# %%
share = ...

# %% tags=["solution"]
solution = 1 / np.sqrt(4.4)
assert np.isclose(solution, np.sqrt(sensor.speckle(rng, (512, 512), 4, 0.0).var()), atol=0.05)
check("Exercise 1", share, solution, hint="ENL is the mean squared over the variance.", tolerance=0.01)

# %% [markdown]
# **Exercise 2.** Somebody averaged the decibels of an even field, one look, and found −14.5 dB. What is its true brightness, in dB?

# %%
truth_db = ...

# %% tags=["solution"]
solution = -14.5 - bias_db(1)
assert np.isclose(solution, -11.99, atol=0.01)
check(
    "Exercise 2", truth_db, solution, hint="Subtract the bias of section 3; it is negative.", tolerance=0.02
)

# %% [markdown]
# **Exercise 3.** The beam comes in at 39 degrees. How steep, in degrees, must a slope that faces it be to fall into layover, and how
# steep one that faces away to lie in shadow? Answer with two numbers in a list.

# %%
angles = ...

# %% tags=["solution"]
solution = np.array([39.0, 90 - 39.0])
folded = [terrain.local_incidence(terrain.gradient((10 * np.tan(np.radians(s)) * columns), (10.0, 10.0)), view)[20, 20]
          for s in (39.0, -51.0)]  # fmt: skip
assert np.allclose(folded, [0, 90], atol=0.1)
check(
    "Exercise 3",
    angles,
    solution,
    hint="Layover: r no longer grows. Shadow: the beam grazes the slope.",
    tolerance=0.5,
)

# %% [markdown]
# ## Summary
#
# A pixel is a sum of echoes; its grain is speckle, a law and not an accident; looks calm it. Average in power, look in decibels. Filters
# trade grain for sharpness. A radar sorts by distance, so slopes lean, fold and hide.

# %%
data.write_numbers("01", PRESET, example.key, SEED, numbers)

# %% [markdown]
# **Next:** [02 · ALOS-2](02_alos2_preparation.ipynb) turns the numbers in a file into backscatter;
# [03 · Sentinel-1](03_sentinel1_preparation.ipynb) prepares pairs of images.
#
# ## References
#
# 1. J. W. Goodman, *Some fundamental properties of speckle*, J. Opt. Soc. Am. 66(11), 1976; C. Oliver and S. Quegan, *Understanding
#    Synthetic Aperture Radar Images*, SciTech, 2004.
# 2. J.-S. Lee, *Digital image enhancement and noise filtering by use of local statistics*, IEEE PAMI 2(2), 1980; A. Lopes, R. Touzi,
#    E. Nezry, *Adaptive speckle filters and scene heterogeneity*, IEEE TGRS 28(6), 1990.
# 3. R. Gelato, C. Sgaravatti, J. Grahn, G. Boracchi, F. M. Bianchi, *Promptable Foundation Models for SAR Remote Sensing: Adapting the Segment Anything Model for Snow Avalanche Segmentation*, Remote Sensing 18(3), 519,
#    2026; doi:10.3390/rs18030519; arXiv:2601.01213.
# 4. D. Small, *Flattening gamma: radiometric terrain correction for SAR imagery*, IEEE TGRS 49(8), 2011.
