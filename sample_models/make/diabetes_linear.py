"""Makes sample_models/diabetes_linear: ridge regression on ten measurements of a patient."""

from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import make

if __name__ == "__main__":
    # As measured: scaled by the data set, a pipeline would have nothing to do.
    make("diabetes_linear", load_diabetes(scaled=False), make_pipeline(StandardScaler(), Ridge()))
