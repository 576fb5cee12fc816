"""
Handwritten digits
==================

Accuracy, proof and cost of a network, then digits read under encryption.

1,797 images of 8 x 8 pixels, which scikit-learn ships. A network of 16 hidden neurons needs 16
lookups for an image, and nearly all of the time is theirs.
"""

import sys

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from cipherfit import CertificateDisplay, EncryptedAccuracyDisplay, NeuralNetClassifier

quick = "--quick" in sys.argv  # less training, fewer rows

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
model = NeuralNetClassifier(
    module__n_hidden_neurons=16, max_epochs=10 if quick else 100, random_state=0
)
model.fit(X_train, y_train)
score = model.score(X_test, y_test)
print(f"accuracy of the integer network on {len(X_test)} images: {score:.3f}")

# %%
# What is proven of it, for every image that there can be.

print(model.graph_.prove())
model.graph_

# %%
# Test images stay far within what is proven. Errors of encrypted lookups cost little accuracy.

CertificateDisplay.from_estimator(model, X_test)
EncryptedAccuracyDisplay.from_estimator(model, X_test, y_test)
plt.show()

# %%
# What an encrypted image costs, before any key is made.

model.estimate_fhe()

# %%
# Digits under encryption, beside the same in clear.

model.compile()
rows = X_test[: 2 if quick else 10]
print(f"reading {len(rows)} images under encryption ...")
encrypted, clear = model.predict(rows, fhe="execute"), model.predict(rows)
print("encrypted:", *encrypted)
print("in clear: ", *clear)
print("written:  ", *y_test[: len(rows)])

figure, images = plt.subplots(1, len(rows), figsize=(10, 1.6), layout="constrained")
for image, pixels, digit in zip(images, rows, encrypted, strict=True):
    image.imshow(pixels.reshape(8, 8), cmap="gray_r")
    image.set_title(f"read: {digit}", fontsize="small")
    image.axis("off")
plt.show()
