"""Makes sample_models/cancer_logistic: logistic regression on thirty measurements of a tumour."""

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import make

if __name__ == "__main__":
    make(
        "cancer_logistic",
        load_breast_cancer(),
        make_pipeline(StandardScaler(), LogisticRegression()),
    )
