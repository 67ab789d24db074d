# %% [markdown]
# # SAM adapters: teach a frozen model snow avalanches
#
# **What you will do.** Take *Segment Anything* apart, piece by piece, with a picture of each. Build an adapter in ten lines, put it into the frozen
# model, train it for a few minutes on radar images of avalanches, and then pull at the box until the mask breaks.
#
# **What you will learn.** How an image, a box and a few million numbers become a mask; why one trains a small addition and leaves the rest alone; which loss and which
# prompts phase 1 of the avalanche study [1] uses, and why; how good that is beside two answers that need no network.
#
# **What you need.** About 45 minutes, 10 of them computing. [03](03_sentinel1_preparation.ipynb) explains the images, [11](11_interactive_segmentation.ipynb) shows
# the finished tool. `DATA = "sample"` judges on a real mountain: its height model is real, radar and avalanches on it are simulated, because no labelled pair of
# dates is small and free. A path uses a folder of your own data.

# %%
PRESET = "laptop"  # smoke | laptop | paper
SEED = 0
DATA = "synthetic"  # synthetic | sample | path of a folder with a dataset.yaml, images/ and masks/

# %% [markdown]
# We bring in the tools. `sartutor.learn.sam` is the model, `sartutor.lab.adapting` draws the pictures of this notebook.

# %%
import math
import time
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from sartutor.lab import adapting, aligning, data, plots
from sartutor.lab.checks import check
from sartutor.learn import losses
from sartutor.learn.adapt import Method, adapt
from sartutor.learn.evaluate import sam_answer
from sartutor.learn.models import load_model
from sartutor.learn.sam import adapters
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.baselines import fill_boxes, otsu_boxes
from sartutor.learn.sam.inputs import branch_image
from sartutor.learn.sam.samples import PromptedImages, box_targets, branch_ranges
from sartutor.presets import ADAPT_LESSONS, SAM_SIZES
from sartutor.sar import boxes

# %% [markdown]
# ## 1 · The task: fresh debris between two dates
#
# When an avalanche stops it leaves **debris**: a heap of snow lumps, rough at the scale of the radar's 5.6 cm waves. Rough snow sends back more than the smooth snow that
# lay there before. The study [1] gives one encoder three bands, in the place of red, green and blue:
#
# - **VV0**, before: rocks, trees and houses are bright on *both* dates. Only with this band can brightness be told from *change*.
# - **VV1**, after: debris is brighter here.
# - **DEM**, height in metres: debris lies where avalanches end, and lakes are flat.
#
# Each is brought to [0, 1] by a fixed range: −23 to −3 dB, and 0 to 4000 m. Fixed, so that the same snow has the same number in every image. The rest of
# what is known, VH and slope, is for a second encoder. [1] trains in three **phases**: (1) adapters of the first encoder and the mask decoder, this notebook; (2) a second encoder for the other bands, [08](08_sam_second_encoder.ipynb); (3) a gate that weighs both, [09](09_sam_fusion.ipynb).

# %%
numbers, lesson_sizes = {}, ADAPT_LESSONS[PRESET]
lesson = adapting.lesson(DATA, PRESET, SEED, lesson_sizes.scenes)
first = branch_ranges(lesson.folder)[0]  # the bands of the first encoder, and the levels that become 0 and 1
bands = tuple(first)
asked = adapting.asked_about(lesson)
objects = adapting.debris(asked)
scene, truth = objects[0].question.scene, objects[0].question.truth


def to_unit(values, low, high):
    return np.clip((values - low) / (high - low), 0, 1)


image = branch_image(scene, 256, first)  # (3, 256, 256): what the encoder is given
units = [scene.bands[scene.band_names.index(name)].units for name in bands]
plain = len(bands) == 3 and set(units) <= {"db", "m", "degree", "1"}  # other units become decibels first
if plain and scene.grid.shape == (256, 256) and scene.valid.all():
    by_hand = np.stack([to_unit(scene.band(name), *first[name]) for name in bands])
    assert np.allclose(by_hand, image, atol=1e-3)
print(lesson.credit)
print(
    f"{len(lesson.folder.ids('train'))} scenes to learn from, {len(lesson.folder.ids('val'))} to validate,",
    end="",
)
print(f" {len(asked)} to test with {len(objects)} objects of at least {adapting.LEAST_PIXELS} px")

# %% [markdown]
# One test scene. Look for debris in the second picture that is not in the first. In the colour picture red is before and green is after, so what became brighter is greenish.
# The last picture is the change in decibels, averaged over 5 x 5 pixels so that debris comes out of the speckle; the label is outlined. Bright spots outside of it changed
# too, for other reasons.

# %%
pictures = plots.panels(len(bands) + 2)
for axes, name in zip(pictures, bands, strict=False):
    unit = adapting.unit_of(scene, name)
    plots.show_image(axes, scene.band(name), name, unit, scene.valid, first[name] if unit == "dB" else None)
plots.show_color(pictures[-2], image.permute(1, 2, 0).numpy(), "as three channels")
adapting.show_change(pictures[-1], scene, bands)
plots.outline(pictures[-1], truth, plots.ORANGE, "debris")
plots.legend(pictures[-1])

# %% [markdown]
# ## 2 · Segment Anything, taken apart
#
# *Segment Anything* (**SAM**) [2] has three parts:
#
# $$\underbrace{E(x)}_{\text{image encoder, once per image}}\qquad \underbrace{P(b)}_{\text{prompt encoder}}\qquad
# \hat y = \sigma\bigl(\underbrace{D(E(x), P(b))}_{\text{mask decoder, once per box}}\bigr)$$
#
# The official one (*ViT-B*) takes images of 1024 px. Ours, `sam_tiny_base`, has the same parts from the same classes at 256 px, so that it fits a laptop, and two extras: a **stem**, a few convolutions beside the encoder that keep small objects
# sharp (its output, at full, half and quarter resolution, goes straight to the decoder), and a first guess in the box, which [11](11_interactive_segmentation.ipynb) explains. One thing matters for all that follows. **The official model learned from a billion masks on photographs. Ours
# learned from drawn shapes under speckle.** What it brings along is less, so the paper's claim that a model of photographs helps on radar is *not* tested here; only `vit_b` can do that.

# %%
base = load_model("sam_tiny_base")
sam, size = base.sam, base.sam.size
parts = {
    "image encoder": sam.image_encoder,
    "detail stem": sam.detail_stem,
    "prompt encoder": sam.prompt_encoder,
}
parts["mask decoder"] = sam.mask_decoder
for name, part in parts.items():
    print(f"{name:15}{aligning.parameters(part):>10,} parameters")

# %% [markdown]
# ### Patches become tokens
#
# The encoder cuts the image into **patches** of 16 x 16 pixels. One matrix turns the 16 · 16 · 3 = 768 numbers of a patch into a **token**, a list of numbers that stands
# for it. There is nothing more to it, as the next cell shows: cut, multiply, done. The same happens in the package as a convolution with stride 16.


# %%
def to_tokens(image, weight, bias, patch=16):
    c, h, w = image.shape
    cut = image.reshape(c, h // patch, patch, w // patch, patch).permute(1, 3, 0, 2, 4)
    return cut.flatten(2) @ weight.flatten(1).T + bias  # (16, 16, 768) times (768, width)


normal = ((image[None] - sam.pixel_mean) / sam.pixel_std)[0]
patch_embed = sam.image_encoder.patch_embed
with torch.no_grad():
    tokens = to_tokens(normal, patch_embed.proj.weight, patch_embed.proj.bias)
    assert torch.allclose(tokens, patch_embed(normal[None])[0], atol=1e-4)
pictures = plots.panels(2)
adapting.show_patches(pictures[0], image, size.patch)
plots.show_color(pictures[1], plots.main_colors(tokens.permute(2, 0, 1).numpy()), "tokens, as colours")
print(f"{tokens.shape[0]} x {tokens.shape[1]} tokens of {tokens.shape[2]} numbers")

# %% [markdown]
# A token is a long list; to see it, we take the three directions in which the tokens of the image differ most (**principal components**) and show them as red, green and blue.
# Colours mean nothing by themselves. Equal colours mean alike tokens.
#
# ### Blocks let tokens talk
#
# Next come **blocks**. In each, every token looks at others (**attention**) and takes what helps it, and then thinks for itself (**MLP**, two layers). With the token $x$ and LN for bringing
# its numbers to a standard size,
#
# $$x \leftarrow x + \mathrm{Attn}(\mathrm{LN}(x)), \qquad x \leftarrow x + \mathrm{MLP}(\mathrm{LN}(x)).$$
#
# Half of our blocks look within windows of 8 x 8 tokens only, the others at the whole image. Move the slider: early on a token knows its own patch, later it knows where it is and what is around. The picture at the
# right asks which tokens are like the one in the middle. The last step, the *neck*, makes the **embedding** that the decoder reads.

# %%
some_images = [branch_image(q.scene, 256, first) for q in asked[:4]]
adapting.depth_explorer({"base": partial(adapting.token_maps, sam)}, some_images)

# %% [markdown]
# ### A box becomes two tokens
#
# The prompt encoder turns each corner of the box into one token. A place $(x, y)$ in $[-1, 1]^2$ is multiplied by a fixed random matrix $G$, and sine and cosine of the
# result are taken: near places get alike tokens, far ones unlike. Then a learned list is added that says "I am an upper left corner", or lower right. In six lines, beside the package's:


# %%
def corner_tokens(box, encoder, side):
    corners = (torch.tensor(box).view(2, 2) + 0.5) / side * 2 - 1
    angle = 2 * math.pi * corners @ encoder.pe_layer.positional_encoding_gaussian_matrix
    kind = torch.cat([encoder.point_embeddings[i].weight for i in (2, 3)])  # upper left, lower right
    return torch.cat([angle.sin(), angle.cos()], -1) + kind


box = boxes.loose_box(objects[0].part.box, truth.shape)
scale = 256 / max(truth.shape)
box = tuple(float(edge * scale) for edge in box)  # in pixels of the model's input
with torch.no_grad():
    by_hand = corner_tokens(box, sam.prompt_encoder, size.image_size)
    sparse, _ = sam.prompt_encoder(points=None, boxes=torch.tensor([box]), masks=None)
    assert torch.allclose(by_hand, sparse[0], atol=1e-4)
    places = sam.prompt_encoder.get_dense_pe()[0]  # the same code for the middle of every patch
    kinds = torch.cat([sam.prompt_encoder.point_embeddings[i].weight for i in (2, 3)])
    near = torch.einsum("kc,chw->khw", by_hand - kinds, places) / places.square().sum(0)
print("two tokens of", by_hand.shape[1], "numbers; the first begins", by_hand[0, :4].numpy().round(2), "...")

# %% [markdown]
# Where does a corner token point? Compare it with the code of every patch: the bright spots are the corners of the box.

# %%
pictures = plots.panels(3)
plots.show_color(pictures[0], image.permute(1, 2, 0).numpy(), "the box")
plots.draw_box(pictures[0], box, plots.ORANGE)
for axes, values, name in zip(pictures[1:], near, ("upper left", "lower right"), strict=True):
    plots.show_image(axes, values.numpy(), f"{name} corner", "likeness", limits=(-1, 1))
    plots.draw_box(axes, np.array(box) / size.patch, plots.ORANGE)
    axes.set(xlabel="column (token)", ylabel="row (token)")

# %% [markdown]
# ### The decoder: a mask is a weighted sum of pictures
#
# The decoder holds a few tokens of its own, one of which is the **mask token**. Mask token and corner tokens look at the image tokens and the other way round, twice. Then two things are left: **feature pictures** $f_1 \dots f_{16}$ at full
# resolution, made from the image tokens (in our small model from its stem and the first guess as well; the official one has 32, at a quarter of its resolution), and as many **weights** $m_k$, made from the mask token. The mask is their sum,
#
# $$\hat y = \sigma\Bigl(\textstyle\sum_k m_k f_k\Bigr).$$
#
# Below we listen to both while the package decodes, and add up ourselves. The first pictures shown are those that count most.

# %%
decoder = sam.mask_decoder
with torch.no_grad():
    embedding = sam.encode(image[None])
    listened = {"features": decoder.output_upscaling, "weights": decoder.output_hypernetworks_mlps[0]}
    with adapting.listening(listened) as heard:
        logits, quality = sam.decode(embedding, torch.tensor([box]))
features, mask_weights = heard["features"][0][0], heard["weights"][0][0]
summed = torch.einsum("k,khw->hw", mask_weights, features)
assert torch.allclose(summed, logits[0, 0], atol=1e-3)
share = mask_weights.abs() * features.std((1, 2))
pictures = plots.panels(6)
for axes, k in zip(pictures[:4], share.argsort(descending=True).tolist(), strict=False):
    plots.show_image(axes, features[k].numpy(), f"picture {k}, weight {mask_weights[k]:+.1f}", "feature")
plots.show_image(pictures[4], summed.sigmoid().numpy(), "the sum: probability", "probability", limits=(0, 1))
plots.show_image(pictures[5], image[1].numpy(), "the mask in the box", "level")
inside = boxes.fill_box((256, 256), box)
plots.outline(pictures[5], (summed > 0).numpy() & inside, plots.BLUE, "mask of the base")
for axes in pictures:
    plots.draw_box(axes, box, plots.GREEN)
    plots.zoom(axes, box, 0.6)
print(f"the model's own guess of its IoU: {quality[0, 0]:.2f}")

# %% [markdown]
# (*IoU*, section 4: how well mask and truth overlap, 1 is perfect.) So a box steers twice. It changes the pictures, for image tokens look at its corners and, in our small model, the first guess in the box goes into them as well; and it chooses the 16 numbers by which they are added up. Both happen in the decoder. That is why the encoder need not look at the image again for the next box.
#
# ## 3 · One pass for many boxes
#
# An image may hold ten pieces of debris. Encode it ten times, or once? Once: ten boxes share one embedding, as in the training of [1]. (`sam_tiny_base` encodes the surroundings of a box, see section 6; there, boxes with the same surroundings share.) Timed here and now, on your machine. The dashed line is what it would cost to start anew for every box.


# %%
def seconds(work, repeats=2):
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


counts = (1, 2, 4) if PRESET == "smoke" else (1, 2, 4, 8, 16)
with torch.inference_mode():
    encode = seconds(lambda: sam.encode(image[None]))
    embedding = sam.encode(image[None])
    decode = [seconds(lambda n=n: sam.decode(embedding, torch.tensor([box] * n))) for n in counts]
numbers["encode_ms"], numbers["decode_ms"] = 1000 * encode, 1000 * decode[0]
axes = plots.panels(1)[0]
together, apart = [encode + d for d in decode], [n * (encode + decode[0]) for n in counts]
axes.plot(counts, 1000 * np.array(together), "o-", color=plots.BLUE, label="encode once")
axes.plot(counts, 1000 * np.array(apart), "s--", color=plots.ORANGE, label="encode for every box")
axes.set(xlabel="boxes on one image", ylabel="milliseconds", title="one image, many boxes")
axes.legend(frameon=False)
print(f"encode {1000 * encode:.0f} ms, decode one box {1000 * decode[0]:.0f} ms;", end=" ")
print(f"{counts[-1]} boxes: {1000 * together[-1]:.0f} ms instead of {1000 * apart[-1]:.0f} ms")

# %% [markdown]
# Our small model spends much on decoding, since it works at full resolution. In ViT-B the encoder has some ninety million parameters and the decoder four: there the encoder is nearly everything, and sharing it is what makes training with many boxes affordable.
#
# ## 4 · The frozen base on avalanches
#
# Now ask the base, as it is, about boxes around debris. **Boxes come from masks**: one around every object, 10 pixels looser on every side of a 512-px chip (a *chip* is a square cut out of a scene; 5 on our 256), and those that overlap become one [1]. The score is **IoU**, intersection over
# union (1: equal, 0: disjoint), within the object's own tight box. Two answers without any network stand beside it:
#
# - *fill the box*: everything in it is debris;
# - *Otsu in the box*: the threshold on VV1 − VV0 that splits the pixels of the box best into two groups [3].

# %%
answers = {
    "fill the box": fill_boxes,
    "Otsu in the box": partial(otsu_boxes, bands=bands),
    "frozen base": sam_answer(base, lesson.test),
}
scores = adapting.score_all(answers, asked)
for name, found in scores.items():
    print(f"{name:16} mean IoU {adapting.object_ious(found).mean():.3f}")
order = np.argsort(adapting.object_ious(scores["frozen base"]))
listed = [adapting.Debris(q, part) for q in asked for part in q.parts]
for axes, place in zip(plots.panels(3), order[[-1, len(order) // 2, 0]], strict=True):
    adapting.show_object(axes, listed[place], answers["frozen base"], bands)

# %% [markdown]
# The best, the middle and the worst of the frozen base. Read the three means before you judge: an answer that is below *fill the box* is worth nothing. (Fill the box looks good by this score, since what it marks outside of the tight box does
# not count. Section 10 counts it.) And the base is given every window as in its training, each band stretched between its own darkest and brightest hundredth: it cannot tell by how many decibels two dates differ. The fixed ranges of section 1 are for what we adapt.
#
# ## 5 · The adapter, in ten lines
#
# Should one now train the whole model on avalanches? It has millions of numbers and few debris to learn from, and it would forget what it knew. The study [1] **freezes** all of the encoder and adds small
# **adapters** [4] that are trained in its place. An adapter squeezes a token through a bottleneck of a quarter of its width and back:
#
# $$A(x) = W_2\; \phi(W_1 x + b_1) + b_2, \qquad W_1: D \to D/4, \quad W_2: D/4 \to D.$$
#
# $W_2$ and $b_2$ **start at zero**. So an adapter says nothing at first, and training starts from exactly the model that we have. (The released code of [1] starts at random.)


# %%
class MyAdapter(nn.Module):
    def __init__(self, width, ratio=0.25):
        super().__init__()
        self.down = nn.Linear(width, int(ratio * width))
        self.act = nn.GELU()
        self.up = nn.Linear(int(ratio * width), width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x):
        return self.up(self.act(self.down(x)))


mine, packaged = MyAdapter(size.width), adapters.Adapter(size.width)
print("largest number that a new adapter gives:", float(mine(tokens).detach().abs().max()))
nn.init.normal_(mine.up.weight, std=0.02)  # as if it had learned something
packaged.load_state_dict(mine.state_dict())
assert torch.equal(mine(tokens), packaged(tokens))

# %% [markdown]
# Each block gets two of them. The *space* adapter sits behind attention and keeps what came in: $h + A_s(h)$. The *MLP* adapter works beside the MLP, at half strength:
#
# $$h = \mathrm{Attn}(\mathrm{LN}(x)), \quad x \leftarrow x + h + A_s(h), \qquad n = \mathrm{LN}(x), \quad x \leftarrow x + \mathrm{MLP}(n) + \tfrac12 A_m(n).$$
#
# Put into a real block of SAM by hand, and compared with the package's:


# %%
def block_with_adapters(block, space, mlp, x):
    h = block.attn(block.norm1(x))
    x = x + h + space(h)
    n = block.norm2(x)
    return x + block.mlp(n) + 0.5 * mlp(n)


torch.manual_seed(SEED)
pair = adapters.BlockAdapter(size.width)
block, x = sam.image_encoder.blocks[0], tokens[None]
with torch.no_grad():
    assert torch.equal(block(x, pair), block(x))  # new adapters change nothing
    for part in (pair.space, pair.mlp):
        nn.init.normal_(part.up.weight, std=0.02)
    by_hand = block_with_adapters(block, pair.space, pair.mlp, x)
    assert torch.allclose(by_hand, block(x, pair), atol=1e-5)
    changed = float((by_hand - block(x)).abs().max())
print(f"a block with trained adapters changes its tokens by up to {changed:.2f}")

# %% [markdown]
# `AdaptedSam` does so in all blocks. It shares the frozen trunk and holds only what is new. The whole model, before its first step, gives the same embedding and the same mask as the base:

# %%
torch.manual_seed(SEED)
fresh = AdaptedSam(sam, branches=1)
with torch.no_grad():
    before = fresh.encode(image[None, None])
    assert torch.equal(before[0], embedding[0])
    assert torch.equal(fresh.decode(before, torch.tensor([box]))[0], logits)
trained_names = fresh.train_phase(1)  # adapters, the stem of the new bands, and the mask decoder
groups = {"adapters": "adapters", "detail stem": "detail_stem", "mask decoder": "mask_decoder"}
for title, key in groups.items():
    amount = sum(p.numel() for n, p in fresh.named_parameters() if key in n and p.requires_grad)
    print(f"{title:15}{amount:>10,} parameters are trained")
frozen = aligning.parameters(sam.image_encoder) + aligning.parameters(sam.prompt_encoder)
print(f"{'frozen':15}{frozen:>10,} of the image and the prompt encoder")

# %% [markdown]
# How many would it be in ViT-B? Two adapters in each of 12 blocks of width 768. We build the encoder and the adapters on PyTorch's *meta* device, where tensors have a shape and no memory, and count. By hand it is $12 \cdot 2 \cdot (768\cdot 192 + 192 + 192\cdot 768 + 768)$.
#
# The alternative is **LoRA** [5]: instead of something beside the weights, a change of the weights themselves, $W + BA$, with $A: D \to r$ and $B: r \to D'$. With a small rank $r$ it has far fewer parameters, starts at zero too ($B = 0$), and can be merged into $W$ when all is done.
# Libraries such as `peft` put it in. We count rank 4 on the layer that makes queries, keys and values.

# %%
from sartutor.learn.sam.encoder import ImageEncoder

large = SAM_SIZES["vit_b"]
with torch.device("meta"):
    amounts = {
        "encoder of ViT-B, frozen": aligning.parameters(ImageEncoder(large)),
        "adapters, ratio 1/4": aligning.parameters(adapters.Adapters(large)),
    }
inner = large.width // 4
per_adapter = large.width * inner + inner + inner * large.width + large.width
assert amounts["adapters, ratio 1/4"] == large.depth * 2 * per_adapter == 7_100_928
rank = 4
amounts["LoRA, rank 4"] = large.depth * rank * (large.width + 3 * large.width)
for name, amount in amounts.items():
    print(f"{name:26}{amount:>12,}  {amount / amounts['encoder of ViT-B, frozen']:7.2%}")
numbers["vit_b_adapters"] = amounts["adapters, ratio 1/4"]

# %% [markdown]
# **ReLU or GELU?** The text of [1] says ReLU, its released code runs GELU. They differ only near zero, as you see, and nothing in the paper tells which one made its numbers. The package
# takes GELU, as the code does, and lets you choose: `Method(activation="relu")`.

# %%
axes = plots.panels(1)[0]
at = torch.linspace(-4, 4, 201)
for name, color, style in (("relu", plots.ORANGE, "--"), ("gelu", plots.BLUE, "-")):
    axes.plot(at, adapters.ACTIVATIONS[name]()(at), style, color=color, label=name)
axes.set(xlabel="input", ylabel="output", title="two activations")
plots.legend(axes)

# %% [markdown]
# Zero has a price, and it lasts for one step. As long as $W_2 = 0$, nothing that $W_1$ does can be seen at the output, so its gradient is exactly zero. Of an adapter only $W_2$ and $b_2$ move in the first step; from the second on both do. Two steps by hand, with the mean size
# of the gradients of all adapters:

# %%
optimizer = torch.optim.SGD([p for p in fresh.parameters() if p.requires_grad], 0.05)
goal = torch.tensor(inside, dtype=torch.float)[None]  # any target will do here: the box
for step in (1, 2):
    answer = fresh.decode(fresh.encode(image[None, None]), torch.tensor([box]))[0][:, 0]
    losses.mask_loss(answer, goal, goal).sum().backward()
    for name, layer in (("W1", "down"), ("W2", "up")):
        pairs = [part for each in fresh.branches[0].adapters for part in (each.space, each.mlp)]
        norm = float(torch.stack([getattr(part, layer).weight.grad.norm() for part in pairs]).mean())
        numbers[f"gradient_{name}_step_{step}"] = norm
        print(f"step {step}: gradient of {name} {norm:.1e}")
    optimizer.step()
    optimizer.zero_grad()
assert numbers["gradient_W1_step_1"] == 0 < numbers["gradient_W2_step_1"]
assert numbers["gradient_W1_step_2"] > 0

# %% [markdown]
# ## 6 · Prompts as people draw them
#
# A model that was trained with tight boxes alone trusts the box, and people draw loosely. So [1] loosens on purpose. Of ten training samples, eight have boxes whose sides are pushed outward by 0 to 19 pixels each on its own, one by 0 to 99, and one has the whole image as its box. (Pixels of a 512-px
# chip; on our 256 it is half of that.) Then boxes that overlap are merged. In ten lines, and equal to the package's for the same random numbers:


# %%
def loose_boxes(rng, mask):
    kind = rng.choice(3, p=(0.8, 0.1, 0.1))
    if kind == 2:
        return [(0.0, 0.0, float(mask.shape[1]), float(mask.shape[0]))]
    most = (20, 100)[kind]
    scale = min(*mask.shape, 512) / 512
    pushed = [
        boxes.enlarge(b, rng.integers(0, most, 4) * scale, mask.shape) for b in boxes.object_boxes(mask)
    ]
    return boxes.merge_overlapping(pushed)


for seed in range(50):
    one, other = (np.random.default_rng((SEED, seed)) for _ in range(2))
    assert loose_boxes(one, truth) == boxes.training_boxes(other, truth)
print("50 draws, equal to the package's")

# %% [markdown]
# One draw of each kind on the label of our scene:

# %%
kinds = [int(np.random.default_rng((SEED, seed)).choice(3, p=(0.8, 0.1, 0.1))) for seed in range(200)]
for axes, kind in zip(plots.panels(3), range(3), strict=True):
    axes.imshow(truth, cmap="gray_r", vmin=0, vmax=2, interpolation="nearest")
    for drawn in loose_boxes(np.random.default_rng((SEED, kinds.index(kind))), truth):
        plots.draw_box(axes, drawn, plots.ORANGE)
    title = ("8 in 10: loose", "1 in 10: wide", "1 in 10: whole image")[kind]
    axes.set(title=title, xlabel="column (px)", ylabel="row (px)")

# %% [markdown]
# **The target is cut to the box.** A box answers for all debris *in* it, and for nothing outside. In the package a sample carries a weight that is 1 in the box and 0 elsewhere, or where nobody knows the label. Below, training samples
# as the network gets them: image, and the target (black) of one box (orange). Whatever lies outside the box counts neither for nor against. A sample is a window as large as the model's input, nearly the whole chip here;
# the study takes the chip. The package can also encode the *surroundings* of a box alone, enlarged where the box is small: `Method(scales=("near",))`. The second table of section 9 compares chip and surroundings. In images larger than the model's input, parts of a large box can be looked at beside the whole; `adapt` tries that on the validation images and keeps what does better.
#
# Three more things differ from [1]. There, the target is set to 0 outside the box and counts as background; here it does not count, unless `Method(outside="background")` says so. There, samples are turned by any angle, shifted and made noisier; here they are only mirrored. Either way an image is lit from another
# side than the radar looked from, while slopes stay as steep: bear that in mind where a band depends on the look direction. There, phase 3 sees loose boxes alone; here the whole mixture.

# %%
method = Method(scales=("chip",))  # what `adapt` takes unless told otherwise
samples = PromptedImages(lesson.folder, "train", branch_ranges(lesson.folder), 256, 60, SEED, method.scales)
shown = default_collate([samples[i] for i in range(3)])
place, drawn, target, weight = box_targets(shown)
print(f"3 images, {len(drawn)} boxes, 3 passes of the encoder")
pictures = plots.panels(6)
for i in range(3):
    k = int((place == i).nonzero()[0, 0])
    assert torch.equal(target[k, 0] > 0, shown["target"][i] & (weight[k, 0] > 0))
    plots.show_color(pictures[i], shown["image"][i, 0].float().permute(1, 2, 0).numpy(), f"sample {i}")
    pictures[3 + i].imshow(target[k, 0], cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    pictures[3 + i].set(title="target of its first box", xlabel="column (px)", ylabel="row (px)")
    for axes in (pictures[i], pictures[3 + i]):
        plots.draw_box(axes, drawn[k].tolist(), plots.ORANGE)

# %% [markdown]
# ## 7 · The loss, and where its gradient dies
#
# Debris covers a small part of a loose box. A loss that averages over pixels would be content with "nothing". **Dice** looks at the overlap instead. With probabilities $p$ and target $g$ in the box,
#
# $$L = 1 - \frac{2\sum p\,g + \epsilon}{\sum p^2 + \sum g^2 + \epsilon}, \qquad \epsilon = 10^{-5},$$
#
# the *squared* form that [1] uses. It is 0 when $p = g$ and 1 when they are disjoint.


# %%
def my_dice(logits, target, weight, eps=1e-5):
    p, g = torch.sigmoid(logits) * weight, target * weight
    overlap = 2 * (p * g).sum((-2, -1)) + eps
    return 1 - overlap / ((p**2).sum((-2, -1)) + (g**2).sum((-2, -1)) + eps)


noise = torch.randn(len(target), 256, 256, generator=torch.Generator().manual_seed(SEED))
guess = 4 * target[:, 0] - 2 + noise
assert torch.allclose(
    my_dice(guess, target[:, 0], weight[:, 0]), losses.dice_loss(guess, target[:, 0], weight[:, 0])
)
print(
    "Dice of a noisy guess for the boxes above:", my_dice(guess, target[:, 0], weight[:, 0]).numpy().round(2)
)

# %% [markdown]
# Now a box with **nothing in it**. All $g$ are 0, and
#
# $$L = 1 - \frac{\epsilon}{\sum p^2 + \epsilon} \approx 1,$$
#
# whatever the network says, unless it is already all but silent. A loss that does not move has no gradient: nothing tells the network to be quiet. **Binary cross-entropy** (BCE), the mean of $-\ln(1 - p)$ there, does. The table gives all pixels the same
# probability and adds up the gradients of 64 x 64 pixels; both axes of the picture are logarithmic.

# %%
levels = [0.0001, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9]
pulls = adapting.empty_gradients(levels)
print(f"{'probability':>12}{'Dice':>12}{'BCE':>12}")
for level, dice_pull, bce_pull in zip(levels, pulls["dice"], pulls["bce"], strict=True):
    print(f"{level:12}{dice_pull:12.1e}{bce_pull:12.1e}")
axes = plots.panels(1)[0]
axes.loglog(levels, pulls["dice"], "o-", color=plots.ORANGE, label="Dice")
axes.loglog(levels, pulls["bce"], "s--", color=plots.BLUE, label="BCE")
axes.set(
    xlabel="probability everywhere in an empty box", ylabel="gradient, summed", title="who says be quiet?"
)
axes.legend(frameon=False)
middle = levels.index(0.5)
numbers["empty_gradient_ratio"] = pulls["bce"][middle] / pulls["dice"][middle]
print(f"at probability 0.5 BCE pulls {numbers['empty_gradient_ratio']:.0e} times as hard")

# %% [markdown]
# So the package takes Dice where the box holds debris and BCE where it holds none. (Such boxes come from images without debris. [1] leaves these out of training, and so do we; `Method(empty_share=0.1)` takes one sample in ten from them. `docs/RESULTS.md` asks what that gains and costs.) One more term, of weight 0.1, teaches the model to guess its own IoU, the score that the annotator shows.
#
# ## 8 · Train phase 1, live
#
# Everything is there: frozen trunk, adapters, decoder, loose boxes, loss. `adapt` runs it, with the optimiser AdamW. The study trains with a learning rate of $10^{-5}$ for up to 1000 epochs; our model is smaller and has minutes, so its rate is larger. The picture follows: mean IoU on validation boxes (left), and one box before the first step and now. Level lines are
# the two answers without a network.

# %%
from sartutor.learn.loop import Watch

validation = PromptedImages(lesson.folder, "val", branch_ranges(lesson.folder), 256, 99, SEED, method.scales)
watched = default_collate([validation[i] for i in range(1 if PRESET == "smoke" else 16)])
live = adapting.LiveAdapting(watched, adapting.batch_references(watched, bands))
live.widget

# %% [markdown]
# The next cell trains; it takes two to five minutes on two free cores.

# %%
folder = data.runs_folder(PRESET, lesson.key)
recipe = lesson_sizes.recipe
steps = recipe.phases[0].steps
live.look(AdaptedSam(sam, branches=len(branch_ranges(lesson.folder))).eval(), 0)
run = adapt(
    lesson.folder.folder,
    folder / f"07-phase1-{SEED}.safetensors",
    size=PRESET,
    recipe=recipe,
    phases=[1],
    method=method,
    seed=SEED,
    watch=Watch(max(1, steps // 10), live.look),
)
own = load_model(run.out)
numbers["live"] = {
    "seconds": run.seconds,
    "iou": live.ious[-1],
    "iou_before": live.ious[0],
    **live.references,
}
print(f"{run.steps[0]} steps of {recipe.batch} images in {run.seconds:.0f} s:", end=" ")
print(f"IoU on {len(watched['image'])} validation samples from {live.ious[0]:.2f} to {live.ious[-1]:.2f}")

# %% [markdown]
# ## 9 · Phase 1 on scenes it has never seen
#
# The package brings `sam_tiny_avalanche`, which went on for longer, on more scenes; its card `sartutor/weights/sam_tiny_avalanche.md` says how. Here is its phase 1, where it is at hand and fits the bands, beside yours and the others, on the test scenes. One dot is one object, a bar is a mean. (The frozen base sees the surroundings of a box, each band stretched to that window, as in its training; the adapted models see whole chips in fixed ranges. So the difference between them is not due to adaptation alone.)

# %%
answers["your phase 1"] = sam_answer(own, lesson.test)
ready = adapting.ready_model(adapting.TRAINED, lesson.test.description.units)
if ready is not None:
    answers["trained phase 1"] = sam_answer(ready, lesson.test)
else:
    print(f"no {adapting.TRAINED} for these bands is at hand; yours goes on alone")
best = list(answers)[-1]  # the adapted model that went on for longest
scores |= adapting.score_all({name: answers[name] for name in answers if name not in scores}, asked)
ious = {name: adapting.object_ious(found) for name, found in scores.items()}
for name, values in ious.items():
    numbers[f"iou_{name}"] = float(values.mean())
axes = plots.panels(1)[0]
axes.figure.set_size_inches(7, 4.2)
plots.show_scores(axes, ious, f"{len(listed)} objects of {len(asked)} scenes")

# %% [markdown]
# Is a difference more than luck? We draw the test scenes anew two thousand times, with repetition, and look between which values the mean difference lies in 95 of 100 draws. An interval that holds 0 means: undecided. It
# tells how sure we are of *this* training run on scenes like these; other seeds would add to it, and of a handful of scenes (`PRESET = "smoke"`) it says little.

# %%
for than in ("fill the box", "Otsu in the box", "frozen base"):
    gain, low, high = adapting.gain_interval(scores, best, than)
    numbers[f"gain_over_{than}"] = {"mean": gain, "low": low, "high": high}
    word = "undecided" if low <= 0 <= high else "better" if low > 0 else "worse"
    print(f"{best} less {than:16} {gain:+.3f}, 95 % between {low:+.3f} and {high:+.3f}: {word}")

# %% [markdown]
# The same object by four answers: debris orange, mask blue. Move to another object and look where each goes wrong. A threshold picks up every bright speckle; a filled box has no shape.

# %%
middle_one = listed[np.argsort(ious[best])[len(listed) // 2]]
names = ["fill the box", "Otsu in the box", "frozen base", best]
for axes, name in zip(plots.panels(4, columns=2), names, strict=True):
    adapting.show_object(axes, middle_one, answers[name], bands, f"{name}, ")

# %% [markdown]
# Did the adapters change how the encoder sees? The same picture as in section 2, now with a second model to choose. Compare what is like the middle token.

# %%
adapted = (own if ready is None else ready).sam
ways = {
    "frozen base": partial(adapting.token_maps, sam),
    best: partial(adapting.token_maps, adapted.base, branch=adapted.branches[0]),
}
adapting.depth_explorer(ways, some_images)

# %% [markdown]
# More scenes, from the card of the trained model: five sets of test scenes that it never saw, with other seeds. Mean IoU of objects by prompt (*box*: 5 px loose, *jitter*: as eight of ten boxes in training, which on average is no looser, *full*: the whole image), and by size for *box*.

# %%
from sartutor.learn.records import recorded

columns = {"box": "iou_box", "jitter": "iou_jitter", "full": "iou_full"}
columns |= {kind: f"iou_{kind}" for kind in ("small", "medium", "large")}
card = [record["values"] for record in recorded(adapting.TRAINED)]
print(f"{'':36}" + "".join(f"{name:>8}" for name in columns) if card else "not run yet")
for name in ("fill_box", "otsu_box", "base", "phase1"):
    if card:
        means = {
            title: float(np.mean([each[name][value] for each in card])) for title, value in columns.items()
        }
        numbers[f"card_{name}"] = means
        print(f"{adapting.ROWS[name]:36}" + "".join(f"{mean:8.3f}" for mean in means.values()))

# %% [markdown]
# And one model is one draw. The experiment *avalanche_small* trains each row anew for several seeds, with the same boxes for all; where its records are at hand, here are those that concern phase 1. There *phase 1*, *trained on tight boxes* and *LoRA* see the surroundings of a box; your model, and the trained one of the table above, correspond to *as phase 1, on whole chips*. The column *image* is the IoU of whole images under *jitter*, nothing cut. `docs/RESULTS.md` has the whole table with intervals, U-Net and SegFormer among them.

# %%
records = recorded("avalanche_small")
columns |= {"image": "images_iou_jitter"}
print(f"{'':36}" + "".join(f"{name:>8}" for name in [*columns, "seeds"]) if records else "not run yet")
for name, words in adapting.ROWS.items():
    means = {title: adapting.recorded_mean(records, name, value) for title, value in columns.items()}
    if means["box"] is not None:
        numbers[f"recorded_{name}"] = means
        cells = "".join(f"{'-' if mean is None else f'{mean:.3f}':>8}" for mean in means.values())
        print(f"{words:36}{cells}{sum(r['configuration'] == name for r in records):>8}")

# %% [markdown]
# Where both rows are there, compare *phase 1* with *as phase 1, trained on tight boxes* in the column *image*: that difference is what loose boxes in training buy (mind that rows may have different seeds). The columns *jitter* and *full* cannot tell: IoU of objects is cut to the tight box, so that a model which simply fills its box loses nothing there; see the row *fill the box*. LoRA has a row of its own.
#
# How loose may boxes be before training on loose ones pays? The experiment asks both again, with boxes whose every side is pushed outward further and further (pixels of a 512-pixel chip; IoU of whole images, nothing cut). *Not run yet* or *undecided* mean what they say.

# %%
from IPython.display import Markdown

from sartutor.learn.avalanche_rows import LOOSE_QUESTIONS
from sartutor.learn.avalanche_table import LOOSENED
from sartutor.learn.record_tables import answers as answered

Markdown(answered(recorded(LOOSENED), LOOSE_QUESTIONS))

# %% [markdown]
# ## 10 · Pull at the box
#
# Now the question that phase 1 was made for: how loose may a box be? The slider pushes every side outward by 0 to 60 pixels of our image, which has 256: 10 here are 20 in the table above. Eight of ten training boxes were loosened by less than 10, one by up to 50, and one was the whole image. At the right, pixels that are hit, too many, and missed; the score counts all pixels in the box, and everything labelled in it is meant. Try the same with Otsu and with the frozen base.

# %%
order = list(reversed(answers))
some = adapting.debris(asked, lesson_sizes.objects)
adapting.prompt_explorer({name: answers[name] for name in order}, some, bands)

# %% [markdown]
# And for many objects at once. Look at two things: how high a curve starts, and how fast it falls. *Fill the box* must fall, since the box grows and the debris does not.

# %%
pushes = (0, 10, 60) if PRESET == "smoke" else (0, 5, 10, 20, 30, 40, 60)
compared = {name: answers[name] for name in (best, "frozen base", "Otsu in the box", "fill the box")}
found = adapting.robustness(compared, some, pushes)
adapting.show_robustness(plots.panels(1)[0], found, pushes)
for name, values in found.items():
    means = values.mean(0)
    numbers[f"loosened_{name}"] = means.tolist()
    kept = means[-1] / means[0] if means[0] else 0.0
    print(
        f"{name:16} IoU {means[0]:.2f} with tight boxes, {means[-1]:.2f} at {pushes[-1]} px: {kept:.0%} is left"
    )

# %% [markdown]
# ## Where it fails
#
# - **Small objects.** An object of 60 pixels is mostly border, and a border is where speckle decides. Below, IoU over size, and means by class.

# %%
from sartutor.learn.scores import SIZES

pixels = np.array([one.part.pixels for one in listed])
axes = plots.panels(1)[0]
adapting.show_by_size(axes, pixels, {name: ious[name] for name in (best, "Otsu in the box", "fill the box")})
print(f"{'':22}" + "".join(f"{name:>18}" for name in names))
for kind, (low, high) in SIZES.items():
    here = (pixels >= low) & (pixels < high)
    if here.any():
        print(
            f"{kind:9}{here.sum():>4} objects "
            + "".join(f"{ious[name][here].mean():18.3f}" for name in names)
        )
        numbers[f"iou_{kind}"] = float(ious[best][here].mean())

# %% [markdown]
# - **The worst six.** Look at the mask and the ground: is the debris bright at all? Is there something else that changed? Is the label larger than what can be seen?

# %%
worst = np.argsort(ious[best])[:6]
for axes, place in zip(plots.panels(len(worst)), worst, strict=True):
    adapting.show_object(axes, listed[place], answers[best], bands)

# %% [markdown]
# - **A box around nothing.** It may get a mask too. Here is the whole image as the prompt, on test scenes without debris where there are any: what is marked is wrong, all of it.

# %%
empty = [question for question in asked if not question.truth.any()]
print(f"{len(empty)} test scenes without debris")
for name in (best, "Otsu in the box"):
    marked = [float((answers[name](q.scene, q.boxes) & q.known).sum() / q.known.sum()) for q in empty]
    if marked:
        numbers[f"false_alarms_{name}"] = float(np.mean(marked))
        print(f"{name:16} marks {np.mean(marked):.1%} of such a scene")

# %% [markdown]
# - **Simulated snow.** Levels and shapes of debris come from a simulator with assumptions. A number from here says how the *method* behaves, not how well it maps the Alps.
# - **Three bands of six.** VH and slope see other things than VV and height; [08](08_sam_second_encoder.ipynb) asks how much they add.
#
# ## Exercises
#
# Put your answer in place of the dots and run the cell, then run the collapsed one below it: it tells you whether you are right. A click
# on its three dots opens the solution.
#
# **Exercise 1.** SAM also comes as *ViT-H*: 32 blocks of width 1280. How many parameters would its adapters have, with ratio 1/4 and two per block?

# %%
amount = ...

# %% tags=["solution"]
inner = 1280 // 4
solution = 32 * 2 * (1280 * inner + inner + inner * 1280 + 1280)
assert solution == 32 * 2 * aligning.parameters(adapters.Adapter(1280))
check("Exercise 1", amount, solution, hint="W1 and b1, W2 and b2; two adapters in each of 32 blocks.")

# %% [markdown]
# **Exercise 2.** A box is filled to a quarter with debris, and a network gives every pixel of it the probability 1/2. What is its squared Dice loss? (Forget about ε.)

# %%
loss = ...

# %% tags=["solution"]
solution = 1 - 2 * 0.5 * 0.25 / (0.5**2 + 0.25)
quarter = torch.zeros(1, 20, 20)
quarter[:, :10, :10] = 1
assert np.isclose(
    solution, float(losses.dice_loss(torch.zeros(1, 20, 20), quarter, torch.ones(1, 20, 20))), atol=1e-4
)
check(
    "Exercise 2",
    loss,
    solution,
    hint="Per pixel: sum p g is 1/2 · 1/4, sum p² is 1/4, sum g² is 1/4.",
    tolerance=1e-3,
)

# %% [markdown]
# **Exercise 3.** LoRA by hand. Given `W` (out, in), `A` (rank, in), `B` (out, rank) and tokens `x` (n, in), what does the updated layer give? Do it without adding `B @ A` to `W`.

# %%
W, A, B = (
    torch.randn(*shape, generator=torch.Generator().manual_seed(1)) for shape in ((6, 8), (2, 8), (6, 2))
)
x = torch.arange(24.0).view(3, 8) / 24
updated = ...

# %% tags=["solution"]
solution = x @ W.T + x @ A.T @ B.T
assert torch.allclose(solution, x @ (W + B @ A).T, atol=1e-4)
check(
    "Exercise 3",
    updated,
    solution.numpy(),
    hint="x @ W.T is the old layer; go through A, then through B.",
    tolerance=1e-3,
)

# %% [markdown]
# ## Summary
#
# SAM is an encoder that looks once, a prompt encoder of a few lines, and a decoder that adds up pictures with weights. An adapter is a bottleneck beside frozen layers that starts as nothing. Loose boxes in training are there to make loose boxes bearable in use, and only a score that counts what is marked beside the object can show it. Dice cares for small objects and is blind to empty boxes. And a score means something beside *fill the box* and
# *Otsu in the box*.

# %%
data.write_numbers("07", PRESET, lesson.key, SEED, numbers)

# %% [markdown]
# **Next:** [08 · A second encoder](08_sam_second_encoder.ipynb) gives VH and slope an encoder of their own, phase 2 of [1]; [09 · Fusion](09_sam_fusion.ipynb) lets a gate choose between the two. `sartutor adapt FOLDER --out mine.safetensors` trains
# all phases on your own data; `--tuning lora`, `--activation relu`, `--loss bce` and `--prompts tight` are the choices of this notebook. [11 · Interactive segmentation](11_interactive_segmentation.ipynb) puts a model on a map.
#
# ## References
#
# 1. R. Gelato, C. Sgaravatti, J. Grahn, G. Boracchi, F. M. Bianchi, *Promptable Foundation Models for SAR Remote Sensing: Adapting the Segment Anything Model for Snow Avalanche Segmentation*, Remote Sensing 18(3), 519,
#    2026; doi:10.3390/rs18030519; arXiv:2601.01213.
# 2. A. Kirillov et al., *Segment Anything*, ICCV 2023; arXiv:2304.02643.
# 3. N. Otsu, *A threshold selection method from gray-level histograms*, IEEE Trans. Systems, Man, and Cybernetics 9(1), 1979.
# 4. N. Houlsby et al., *Parameter-efficient transfer learning for NLP*, ICML 2019; arXiv:1902.00751 (adapters); J. Wu et al., *Medical SAM Adapter*,
#    arXiv:2304.12620 (in SAM).
# 5. E. Hu et al., *LoRA: low-rank adaptation of large language models*, ICLR 2022; arXiv:2106.09685.
# 6. F. Milletari, N. Navab, S.-A. Ahmadi, *V-Net*, 3DV 2016; arXiv:1606.04797 (the squared Dice).
