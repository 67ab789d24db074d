"""The speckle laws against closed forms, quadrature and simulation."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from sartutor.sar.speckle_law import amplitude_pdf, db_pdf, intensity_pdf, log_bias_db, log_std_db

LOOKS = [1, 2.7, 4.4, 16]


def drawn_db(looks, size=200_000):
    return 10 * np.log10(np.random.default_rng(7).gamma(looks, 1 / looks, size))


def test_one_look_has_its_known_bias_and_spread():
    assert log_bias_db(1) == pytest.approx(-2.5068, abs=1e-4)
    assert log_std_db(1) == pytest.approx(5.5701, abs=1e-4)


@pytest.mark.parametrize("looks", LOOKS)
def test_bias_and_spread_agree_with_drawn_speckle(looks):
    db = drawn_db(looks)
    assert db.mean() == pytest.approx(log_bias_db(looks), abs=0.05)
    assert db.std() == pytest.approx(log_std_db(looks), abs=0.05)


def test_many_looks_have_neither():
    looks = np.array([1e3, 1e6])
    assert log_bias_db(looks) == pytest.approx(-10 / np.log(10) / (2 * looks), rel=1e-3)
    assert log_std_db(looks) == pytest.approx(10 / np.log(10) / np.sqrt(looks), rel=1e-3)


@pytest.mark.parametrize("looks", LOOKS)
@pytest.mark.parametrize("law", [intensity_pdf, amplitude_pdf, db_pdf])
def test_densities_integrate_to_one(law, looks):
    ends = (-80, 20) if law is db_pdf else (0, np.inf)
    total = quad(lambda x: float(law(x, 0.1, looks)), *ends, points=None, limit=200)[0]
    assert total == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("looks", LOOKS)
def test_densities_have_the_moments_of_the_law(looks):
    def moment(law, power, ends):
        return quad(lambda x: x**power * float(law(x, 0.1, looks)), *ends, limit=200)[0]

    assert moment(intensity_pdf, 1, (0, np.inf)) == pytest.approx(0.1)
    assert moment(intensity_pdf, 2, (0, np.inf)) - 0.01 == pytest.approx(0.01 / looks, rel=1e-5)
    assert moment(amplitude_pdf, 2, (0, np.inf)) == pytest.approx(0.1)
    assert moment(db_pdf, 1, (-80, 20)) == pytest.approx(-10 + log_bias_db(looks), abs=1e-3)


def test_one_look_is_exponential_and_rayleigh():
    x = np.linspace(0, 3, 50)
    assert intensity_pdf(x, 0.5, 1) == pytest.approx(stats.expon.pdf(x, scale=0.5))
    assert amplitude_pdf(x, 0.5, 1) == pytest.approx(stats.rayleigh.pdf(x, scale=0.5))


def test_several_looks_are_gamma_and_nakagami():
    x = np.linspace(0, 3, 50)
    assert intensity_pdf(x, 0.5, 4) == pytest.approx(stats.gamma.pdf(x, 4, scale=0.125))
    assert amplitude_pdf(x, 0.5, 4) == pytest.approx(stats.nakagami.pdf(x, 4, scale=np.sqrt(0.5)))


@pytest.mark.filterwarnings("error")
def test_nothing_is_negative():
    assert intensity_pdf([-1.0, -0.1], 0.5, 4).tolist() == [0, 0]
    assert amplitude_pdf([-1.0, 0.0], 0.5, 4).tolist() == [0, 0]


def test_the_mean_moves_decibels_and_keeps_their_shape():
    x = np.linspace(-40, 10, 101)
    assert db_pdf(x, 0.01, 3) == pytest.approx(db_pdf(x + 20, 1, 3))
