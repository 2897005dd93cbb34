"""The diabetes data set that ships with scikit-learn: 442 patients, ten measurements, progression after a year."""

from sklearn.datasets import load_diabetes


def patients():
    """One row a patient, in the units in which they were measured."""
    frame = load_diabetes(as_frame=True, scaled=False).frame
    return frame.rename(columns={"target": "progression"})
