"""The client: it holds the rows and the secret key, and asks a server that sees neither."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from cipherfit.exceptions import (
    InvalidParameterError,
    KeyStoreError,
    SecurityError,
    SerializationError,
    ServiceError,
)
from cipherfit.parameters import integer
from cipherfit.predictor.artifact import ClientModel, load_client
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.saving import load
from cipherfit.serve import frames
from cipherfit.serve.encryption import Encryption, Sums, encryption_of
from cipherfit.serve.keystore import KeyStore
from cipherfit.serve.passphrase import Passphrase
from cipherfit.serve.pins import pin
from cipherfit.serve.remote import HttpTransport
from cipherfit.serve.transport import LocalTransport, Transport, UnknownKeyError

_MODEL_PATH = re.compile(r"(.*)/v1/models/([0-9a-f]{64})/?")


class Client:
    """Predicts on encrypted rows: what leaves this process is ciphertexts and public keys.

    Keys are made when they are first needed, once for each model, and kept in `keys`, the secret
    one encrypted. A client that is made again with the same folder has the same keys, and uploads
    none that the service has.

    A server learns nothing from what a client does with answers: all requests of a call are sent
    before the first answer is decrypted, and nothing is sent after.

    Parameters
    ----------
    model : str, path, ClientModel or Predictor
        What `save_client` wrote, or its path; the URL of a service, or of one of its models
        (``.../v1/models/DIGEST``); or a whole model, which then also is the server.
    keys : str or path, default="~/.cipherfit/keys"
        Folder of the keys: see `cipherfit.serve.keystore.KeyStore`.
    passphrase : str, bytes, callable or path, optional
        What the secret keys are encrypted under; as a `pathlib.Path`, the file that holds it.
        Default: that of the environment's CIPHERFIT_PASSPHRASE, else the system's keyring.
    server : str, Predictor or Transport, optional
        What computes: URL of a service, or a compiled predictor in this process. Default: where the
        model is from. Without one a client encrypts and decrypts.
    token : str, optional
        For the service: sent as ``Authorization: Bearer``.
    digest : str, optional
        Which model it has to be. Default: of a service the one that it served when this folder's
        client first asked.
    batch_rows : int, optional
        Rows of a request. Default: 8 where lookups are encrypted, else as many as one set of
        ciphertexts holds, thousands.

    Attributes
    ----------
    model : ClientModel
        What turns rows into codes, and sums into answers.

    Raises
    ------
    SecurityError
        If the encryption's parameters are too weak, or the service has another model than before.
    SerializationError
        If the file is none of a model.
    ServiceError
        If the service can't be asked.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ClientModel | Predictor,
        keys: str | os.PathLike[str] = "~/.cipherfit/keys",
        *,
        passphrase: Passphrase | None = None,
        server: str | Predictor | Transport | None = None,
        token: str | None = None,
        digest: str | None = None,
        batch_rows: int | None = None,
    ) -> None:
        self._store = KeyStore(keys, passphrase)
        if batch_rows is not None:
            batch_rows = integer("batch_rows", batch_rows, 1)
        self._batch_rows = batch_rows
        self.model, self._transport = self._found(model, server, token, digest)
        if digest is not None and self.model.digest != digest:
            raise SecurityError(f"digest={digest!r} is asked for, and this is {self.model.digest}")
        if self.model.backend == "concrete":
            from cipherfit.fhe.security import check_security

            check_security(self.model.specs)
        self._lock = threading.Lock()
        self._made: Encryption | None = None
        self._is_uploaded = False

    def __repr__(self) -> str:
        return f"Client({self.model!r}, server={self._transport!r})"

    def __getstate__(self) -> Any:
        """Refuse: a copy would hold the keys."""
        raise KeyStoreError("clients are not pickled: make one where it is needed")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up connections; the next request opens them again."""
        if self._transport is not None:
            self._transport.close()

    @property
    def evaluation_keys(self) -> bytes:
        """What a server needs of the keys: it can't decrypt with them."""
        return self._encryption.evaluation_keys

    @property
    def key_id(self) -> str:
        """SHA-256 of the evaluation keys, in hexadecimal: what a service calls them."""
        return self._encryption.key

    def encrypt(self, X: Any) -> bytes:
        """Encrypt rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, as the model takes them.

        Returns
        -------
        bytes
            The body of a request: frames, as of `cipherfit.serve.frames`.

        Raises
        ------
        InvalidInputError, InputTypeError
            If the features can't be those of the model.
        """
        return frames.pack(self._encryption.encrypt(self.model.encode(X)))

    def ask(self, request: bytes, n_rows: int) -> bytes:
        """Return what the server makes of `encrypt`'s bytes: with `decrypt`, what `sums` does.

        Parameters
        ----------
        request : bytes
            Frames of encrypted rows; evaluation keys are uploaded before, where they are not there.
        n_rows : int
            How many rows: a longer answer than theirs is not read.

        Returns
        -------
        bytes
            The body of the answer, for `decrypt`. To decrypt it before other rows are sent may tell
            the server, by what is sent next, what came out.

        Raises
        ------
        ServiceError
            If the server can't be asked.
        """
        # There are as many frames as rows, or fewer.
        most = self._encryption.answer_bytes(n_rows) + (n_rows + 1) * frames.OVERHEAD
        server = self._server()
        if not self._is_uploaded:
            self.upload()
        try:
            return server.predict(self.model.digest, self.key_id, request, most)
        except UnknownKeyError:
            # A service may forget keys that nobody asked with for long.
            self.upload()
            return server.predict(self.model.digest, self.key_id, request, most)

    def decrypt(self, answer: bytes) -> Sums:
        """Decrypt what a server made of `encrypt`'s bytes.

        Parameters
        ----------
        answer : bytes
            Frames, which are checked before they are decrypted.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs), int64
            Sums: `model.answer` turns them into predictions.

        Raises
        ------
        SerializationError
            If they are no answer for this model. Don't tell the server.
        """
        return self._encryption.decrypt(frames.unpack(answer, max_frames=len(answer)))

    def predict(self, X: Any, *, progress: bool | None = None) -> NDArray[Any]:
        """Predict class labels or targets, on encrypted rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, as the model takes them.
        progress : bool, optional
            Whether to show a progress bar on standard error. Default: on a terminal only.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            As the trained model's `predict`.

        Raises
        ------
        ServiceError
            If the server can't be asked.
        """
        return self.model.answer(self.sums(X, progress=progress))

    def predict_proba(self, X: Any, *, progress: bool | None = None) -> NDArray[np.float64]:
        """Predict class probabilities, on encrypted rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, as the model takes them.
        progress : bool, optional
            As for `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64

        Raises
        ------
        InvalidParameterError
            If the model predicts real values.
        ServiceError
            If the server can't be asked.
        """
        if not self.model.is_classifier:
            raise InvalidParameterError(
                "predict_proba is for classes, and this network predicts real values: call predict"
            )
        return self.model.answer_proba(self.sums(X, progress=progress))

    def sums(self, X: Any, *, progress: bool | None = None) -> Sums:
        """Return the decrypted sums of encrypted rows, which predictions are made from.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, as the model takes them.
        progress : bool, optional
            As for `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs), int64
        """
        codes = self.model.encode(X)
        with tqdm(
            total=len(codes),
            desc="encrypted rows",
            unit="row",
            disable=None if progress is None else not progress,
        ) as bar:
            answers = []
            for batch in self._batches(codes):
                request = frames.pack(self._encryption.encrypt(batch))
                answers.append((self.ask(request, len(batch)), len(batch)))
                bar.update(len(batch))
        # After the last request, so that no server learns from the next one what came out.
        parts = [
            self._encryption.decrypt(frames.unpack(answer, max_frames=rows), rows)
            for answer, rows in answers
        ]
        return np.concatenate(parts)

    def upload(self) -> None:
        """Give the server the evaluation keys, unless it has them; `predict` does by itself."""
        server = self._server()
        if not server.has_keys(self.key_id):
            server.put_keys(self.key_id, self.evaluation_keys, self.model.digest)
        self._is_uploaded = True

    @property
    def _encryption(self) -> Encryption:
        with self._lock:
            if self._made is None:
                self._made = encryption_of(self.model, self._store)
            return self._made

    def _batches(self, codes: NDArray[np.uint16]) -> Iterator[NDArray[np.uint16]]:
        step = self._batch_rows or self._encryption.batch_rows
        for start in range(0, len(codes), step):
            yield codes[start : start + step]

    def _server(self) -> Transport:
        if self._transport is None:
            raise ServiceError("this client has no server: give server=, a URL")
        return self._transport

    def _found(
        self, model: Any, server: Any, token: str | None, digest: str | None
    ) -> tuple[ClientModel, Transport | None]:
        """Return the model, and what computes."""
        if isinstance(model, str) and model.startswith(("http://", "https://")):
            return self._from_service(model, server, token, digest)
        if isinstance(model, (str, os.PathLike)):
            model = _from_file(Path(model))
        if isinstance(model, Predictor):
            server = model if server is None else server
            model = model.client_model()
        if not isinstance(model, ClientModel):
            raise InvalidParameterError(
                f"model of type {type(model).__name__} must be a path, a URL, a ClientModel or a "
                "Predictor"
            )
        return model, _transport(server, token)

    def _from_service(
        self, url: str, server: Any, token: str | None, digest: str | None
    ) -> tuple[ClientModel, Transport]:
        named = _MODEL_PATH.fullmatch(url)
        service = HttpTransport(named[1] if named else url, token)
        wanted = named[2] if named else digest or _only(service)
        data = service.client_file(wanted)
        model = ClientModel.from_bytes(data)
        if model.digest != wanted:
            raise SecurityError(f"{url} gives the file of model {model.digest} for {wanted}")
        with self._store.locked("models"):
            pin(self._store.folder, url, wanted, data, renew=digest == wanted)
        return model, _transport(server, token) or service


def _from_file(path: Path) -> ClientModel | Predictor:
    """Return what a file holds: a client's part, or a whole model."""
    try:
        return load_client(path)
    except SerializationError as error:
        try:
            return load(path)
        except SerializationError:
            raise error from None


def _transport(server: Any, token: str | None) -> Transport | None:
    if isinstance(server, str):
        return HttpTransport(server, token)
    if isinstance(server, Predictor):
        return LocalTransport(server)
    transport: Transport | None = server
    return transport


def _only(service: HttpTransport) -> str:
    """Return the digest of the one model that a service has."""
    models = service.models()
    digests = [str(model.get("digest")) for model in models]
    if len(digests) != 1 or not re.fullmatch("[0-9a-f]{64}", digests[0]):
        names = ", ".join(f"{model.get('name')}: {model.get('digest')}"[:120] for model in models)
        raise InvalidParameterError(
            f"{service.url} has {len(models)} models ({names}): give digest=, or the URL of one, "
            f"{service.url}/v1/models/DIGEST"
        )
    return digests[0]
