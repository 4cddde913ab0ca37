"""Data sets that statsmodels and scikit-learn bring along; continuous outcomes are cut in two at a stated value.

Rights, as statsmodels states them in each data set's COPYRIGHT: anes96, engel, longley, macrodata, modechoice, nile,
randhie, statecrime and strikes are in the public domain; fair is "included with permission of the author", spector and
star98 are "used with express permission of the original author, who retains all rights". scikit-learn's come from the
UCI repository (breast cancer, wine), Fisher (iris) and Efron et al. (diabetes).
"""

from __future__ import annotations

import numpy as np
import statsmodels.api as sm
from numpy.typing import ArrayLike
from sklearn import datasets

from .data import Data, aggregate, counts, plain


def bundled() -> list[Data]:
    """All data sets of this file."""
    return [*_spector(), *_star98(), *_surveys(), *_series(), *_small(), *_scikit_learn()]


def _of(module: str, *columns: str) -> ArrayLike:
    """(m, n) float64: columns of the bundled data set, in this order; all if none is named."""
    frame = getattr(sm.datasets, module).load_pandas().data
    return frame[list(columns) or list(frame.columns)].to_numpy(dtype=np.float64)


def _above(values: ArrayLike, cut: float | None = None) -> ArrayLike:
    """(m,) of 0 and 1: whether a value exceeds the cut, by default the median."""
    return (np.ravel(values) > (np.median(values) if cut is None else cut)).astype(np.int64)


def _spector() -> list[Data]:
    return [
        Data(
            "spector",
            "statsmodels spector: Spector and Mazzeo, J. Economic Education 11 (1980) 37; fit: Greene, Econometric "
            "Analysis",
            **plain(_of("spector", "GPA", "TUCE", "PSI"), _of("spector", "GRADE").ravel()),
            published=("-13.021", "2.826", "0.095", "2.379"),
            varied=True,
        )
    ]


def _star98() -> list[Data]:
    source = "statsmodels star98: Gill, Generalized Linear Models: A Unified Approach (2000), chapter 5"
    table = _of("star98")
    above, below, X = table[:, 0], table[:, 1], table[:, 2:]
    majority = plain(X[:, :6], above > below)
    return [
        Data("star98", source, **counts(X, above, below)),  # products of three columns: 0.05 to 1e6 as they come
        Data("star98_main", source, **counts(X[:, :12], above, below)),
        Data("star98_few", source, **counts(X[:, [0, 3, 5]], above, below), varied=True),
        Data("star98_majority", source, **majority),
    ]


def _surveys() -> list[Data]:
    fair = _of("fair")[::11]
    anes = _of("anes96", "TVnews", "selfLR", "PID", "age", "educ", "income")
    health = _of("randhie", "lncoins", "idp", "hlthg", "hlthf", "hlthp")
    trips = _of("modechoice", "mode", "ttme", "invc", "invt", "hinc", "psize", "choice")
    air = trips[trips[:, 0] == 1]
    vote = _of("anes96", "vote").ravel()
    return [
        Data(
            "fair",
            "statsmodels fair: Fair, J. Political Economy 86 (1978) 45; every 11th woman, affairs > 0",
            **plain(fair[:, :-1], fair[:, -1] > 0),
            varied=True,
        ),
        Data("anes96", "statsmodels anes96: National Election Study of 1996; vote", **plain(anes, vote), varied=True),
        Data("anes96_population", "as anes96; vote on the town's size", **plain(_of("anes96", "popul", "age"), vote)),
        Data(
            "randhie",
            "statsmodels randhie: RAND health insurance experiment, Deb and Trivedi (2002); any visit to a doctor",
            **aggregate(health, _of("randhie", "mdvis").ravel() > 0),
        ),
        Data(
            "air_travel",
            "statsmodels modechoice: Greene, Econometric Analysis (1997); whether the aeroplane was chosen",
            **plain(air[:, 1:-1], air[:, -1]),
        ),
    ]


def _series() -> list[Data]:
    macro = _of("macrodata", "realgdp", "unemp", "tbilrate", "pop")
    return [
        Data(
            "nile",
            "statsmodels nile: Cobb, Biometrika 65 (1978) 243; flow above 900",
            **plain(_of("nile", "year"), _above(_of("nile", "volume"), 900)),
        ),
        Data(
            "macrodata",
            "statsmodels macrodata: Federal Reserve Bank of St. Louis; inflation above its median",
            **plain(macro, _above(_of("macrodata", "infl"))),
        ),
        Data(
            "longley",
            "statsmodels longley: Longley, JASA 62 (1967) 819; armed forces above their median",
            **plain(_of("longley", "GNP", "UNEMP"), _above(_of("longley", "ARMED"))),
        ),
    ]


def _small() -> list[Data]:
    income, food = _of("engel").T
    crime = _of("statecrime", "hs_grad", "poverty", "white", "urban")
    return [
        Data(
            "engel",
            "statsmodels engel: Koenker and Bassett, Econometrica 50 (1982) 43; food's share above median",
            **plain(income, _above(food / income)),
        ),
        Data(
            "statecrime",
            "statsmodels statecrime: American Statistical Abstract 2009; violent crime above its median",
            **plain(crime, _above(_of("statecrime", "violent"))),
        ),
        Data(
            "strikes",
            "statsmodels strikes: Kennan, J. Econometrics 28 (1985) 5; duration above its median",
            **plain(_of("strikes", "iprod"), _above(_of("strikes", "duration"))),
        ),
    ]


def _scikit_learn() -> list[Data]:
    iris, cancer = datasets.load_iris(), datasets.load_breast_cancer()
    wine, diabetes = datasets.load_wine(), datasets.load_diabetes()
    two = wine.target < 2
    tumour = "scikit-learn breast_cancer: Street, Wolberg and Mangasarian (1993)"
    return [
        Data(
            "iris",
            "scikit-learn iris: Fisher, Annals of Eugenics 7 (1936) 179; versicolor, virginica",
            **plain(iris.data[50:], iris.target[50:] == 2),
            published=("-42.638", "-2.465", "-6.681", "9.429", "18.286"),
            varied=True,
        ),
        Data("tumour_size", tumour, **plain(cancer.data[:, [0, 1]], cancer.target)),
        Data("tumour_area", tumour, **plain(cancer.data[:, [3, 4, 9]], cancer.target), varied=True),
        Data("tumour_errors", tumour, **plain(cancer.data[:, 10:20], cancer.target)),
        Data("tumour_shape", tumour, **plain(cancer.data[:, [1, 4, 8, 9]], cancer.target)),
        Data(
            "wine",
            "scikit-learn wine: Aeberhard and Forina, UCI repository (1991); classes 0 and 1",
            **plain(wine.data[two][:, [1, 3, 4, 5]], wine.target[two]),
        ),
        Data(
            "diabetes",
            "scikit-learn diabetes: Efron et al., Annals of Statistics 32 (2004) 407; above the median",
            **plain(diabetes.data, _above(diabetes.target)),
        ),
    ]
