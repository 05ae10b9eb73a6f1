"""Makes sample_models/wine_svm: a support vector machine on thirteen measurements of a wine."""

from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tables import make

if __name__ == "__main__":
    # Probabilities are what people export it with; they come from folds drawn by random_state.
    svm = SVC(kernel="rbf", probability=True, random_state=0)
    make("wine_svm", load_wine(), make_pipeline(StandardScaler(), svm))
