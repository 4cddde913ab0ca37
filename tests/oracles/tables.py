"""Textbook tables, typed in. Every one has the fit that its source prints, which make.py compares with its own."""

from __future__ import annotations

import numpy as np

from .data import Data, counts, plain


def tables() -> list[Data]:
    """All tables of this file."""
    return [
        *(_beetle(), _menarche(), _budworm(), _snoring(), _azt()),
        *(_challenger(), *_vasoconstriction(), _admissions(), _titanic(), _cars()),
    ]


def _beetle() -> Data:
    dose = [1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839]  # log10 of mg/l of CS2
    killed = np.array([6, 13, 18, 28, 52, 53, 61, 60])
    number = np.array([59, 60, 62, 56, 63, 59, 62, 60])
    return Data(
        "beetle",
        "Bliss, Annals of Applied Biology 22 (1935) 134; fit: Dobson, Introduction to Generalized Linear Models",
        **counts(dose, killed, number - killed),
        published=("-60.72", "34.27"),
        varied=True,
    )


def _menarche() -> Data:
    age = [9.21, *(10.21, 10.58, 10.83), *(11.08, 11.33, 11.58, 11.83), *(12.08, 12.33, 12.58, 12.83)]
    age += [13.08, 13.33, 13.58, 13.83, 14.08, 14.33, 14.58, 14.83, 15.08, 15.33, 15.58, 15.83, 17.58]
    total = [376, 200, 93, 120, 90, 88, 105, 111, 100, 93, 100, 108, 99, 106, 105, 117, 98, 97, 120, 102, 122, 111]
    total += [94, 114, 1049]
    reached = [0, 0, 0, 2, 2, 5, 10, 17, 16, 29, 39, 51, 47, 67, 81, 88, 79, 90, 113, 95, 117, 107, 92, 112, 1049]
    return Data(
        "menarche",
        "Milicer and Szczotka, Human Biology 38 (1966) 199; fit: Venables and Ripley, Modern Applied Statistics with S",
        **counts(age, reached, np.array(total) - reached),
        published=("-21.226", "1.632"),
        varied=True,
    )


def _budworm() -> Data:
    male, log2_dose = np.repeat([1, 0], 6), np.tile(np.arange(6), 2)
    killed = np.array([1, 4, 9, 13, 18, 20, 0, 2, 6, 10, 12, 16])  # of 20
    return Data(
        "budworm",
        "Collett, Modelling Binary Data (1991) 75; fit: Venables and Ripley, Modern Applied Statistics with S",
        **counts(np.column_stack([male, log2_dose]), killed, 20 - killed),
        published=("-3.473", "1.101", "1.064"),
    )


def _snoring() -> Data:
    return Data(
        "snoring",
        "Norton and Dunn, British Medical Journal 291 (1985) 630; fit: Agresti, Categorical Data Analysis",
        **counts([0, 2, 4, 5], [24, 35, 21, 30], [1355, 603, 192, 224]),
        published=("-3.87", "0.40"),
    )


def _azt() -> Data:
    return Data(
        "azt",
        "New York Times, 15 February 1991; table and fit: Agresti, Categorical Data Analysis",
        **counts([[1, 1], [0, 1], [1, 0], [0, 0]], [14, 32, 11, 12], [93, 81, 52, 43]),
        published=("-1.0736", "-0.7195", "0.0555"),
    )


def _challenger() -> Data:
    fahrenheit = [66, 70, 69, 68, 67, 72, 73, 70, 57, 63, 70, 78, 67, 53, 67, 75, 70, 81, 76, 79, 75, 76, 58]
    distress = [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]
    return Data(
        "challenger",
        "Dalal, Fowlkes and Hoadley, JASA 84 (1989) 945; fit: Agresti, Categorical Data Analysis",
        **plain(fahrenheit, distress),
        published=("15.043", "-0.232"),
        varied=True,
    )


def _vasoconstriction() -> list[Data]:
    volume = [3.7, 3.5, 1.25, 0.75, 0.8, 0.7, 0.6, 1.1, 0.9, 0.9, 0.8, 0.55, 0.6, 1.4, 0.75, 2.3, 3.2, 0.85, 1.7, 1.8]
    volume += [0.4, 0.95, 1.35, 1.5, 1.6, 0.6, 1.8, 0.95, 1.9, 1.6, 2.7, 2.35, 1.1, 1.1, 1.2, 0.8, 0.95, 0.75, 1.3]
    rate = [0.825, 1.09, 2.5, 1.5, 3.2, 3.5, 0.75, 1.7, 0.75, 0.45, 0.57, 2.75, 3.0, 2.33, 3.75, 1.64, 1.6, 1.415]
    rate += [1.06, 1.8, 2.0, 1.36, 1.35, 1.36, 1.78, 1.5, 1.5, 1.9, 0.95, 0.4, 0.75, 0.03, 1.83, 2.2, 2.0, 3.33]
    rate += [1.9, 1.9, 1.625]
    label = [int(digit) for digit in "111111000000011111010000101010100111001"]
    X = np.column_stack([volume, rate])
    source = "Finney, Biometrika 34 (1947) 320; fit of the logarithms: Pregibon, Annals of Statistics 9 (1981) 705"
    return [
        Data("vasoconstriction", source, **plain(X, label), varied=True),
        Data("log_vasoconstriction", source, **plain(np.log(X), label), published=("-2.875", "5.179", "4.562")),
    ]


def _admissions() -> Data:
    admitted = [512, 89, 353, 17, 120, 202, 138, 131, 53, 94, 22, 24]  # men, women of department A; of B; ...
    rejected = [313, 19, 207, 8, 205, 391, 279, 244, 138, 299, 351, 317]
    department = np.repeat(np.eye(6)[:, 1:], 2, axis=0)
    return Data(
        "admissions",
        "Bickel, Hammel and O'Connell, Science 187 (1975) 398; fit: R's documentation of UCBAdmissions",
        **counts(np.column_stack([department, np.tile([0, 1], 6)]), admitted, rejected),
        published=("0.58205", "-0.04340", "-1.26260", "-1.29461", "-1.73931", "-3.30648", "0.09987"),
    )


def _titanic() -> Data:
    # Records: men, boys, women, girls of the first class; of the second; of the third; men, women of the crew.
    survived = [57, 5, 140, 1, 14, 11, 80, 13, 75, 13, 76, 14, 192, 20]
    died = [118, 0, 4, 0, 154, 0, 13, 0, 387, 35, 89, 17, 670, 3]
    of = np.repeat(np.eye(4)[:, 1:], [4, 4, 4, 2], axis=0)
    female = [0, 0, 1, 1] * 3 + [0, 1]
    adult = [1, 0, 1, 0] * 3 + [1, 1]
    return Data(
        "titanic",
        "Dawson, Journal of Statistics Education 3 (1995); fit: R's Titanic, Survived ~ Class + Sex + Age",
        **counts(np.column_stack([of, female, adult]), survived, died),
        published=("0.6853", "-1.0181", "-1.7778", "-0.8577", "2.4201", "-1.0615"),
    )


def _cars() -> Data:
    hp = [110, 110, 93, 110, 175, 105, 245, 62, 95, 123, 123, 180, 180, 180, 205, 215, 230, 66, 52, 65, 97, 150, 150]
    hp += [245, 175, 66, 91, 113, 264, 175, 335, 109]
    weight = [2.62, 2.875, 2.32, 3.215, 3.44, 3.46, 3.57, 3.19, 3.15, 3.44, 3.44, 4.07, 3.73, 3.78, 5.25, 5.424, 5.345]
    weight += [2.2, 1.615, 1.835, 2.465, 3.52, 3.435, 3.84, 3.845, 1.935, 2.14, 1.513, 3.17, 2.77, 3.57, 2.78]
    manual = [1] * 3 + [0] * 14 + [1] * 3 + [0] * 5 + [1] * 7
    return Data(
        "cars",
        "Henderson and Velleman, Biometrics 37 (1981) 391; fit: R's mtcars, am ~ hp + wt",
        **plain(np.column_stack([hp, weight]), manual),
        published=("18.86630", "0.03626", "-8.08348"),
        varied=True,
    )
