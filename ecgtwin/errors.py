"""The errors a user can cause. Each message says what was found, what is allowed and what to do.

EcgTwinError
├── SpecificationError      a specification or a command line says something impossible
├── RecordError             a source record cannot be used
├── SourceError             a whole source cannot be read
├── CheckpointError         a checkpoint is missing, damaged or of another kind
├── EncoderError            a text encoder cannot be had: no library, no weights, other weights
│   └── EncoderMismatchError  it is not the one that the networks were trained with
├── TrainingError           a training diverged, or its checkpoint could not be written
├── StoreError              an object store refused or cannot be reached
│   ├── CommitConflictError other bytes stand where an object was to be committed
│   └── DamageError         an object is there, but is not what its record says
├── ClusterError            a cluster starts no workers
└── CohortMismatchError     a cohort URL holds another plan, checkpoint or numerics
"""


class EcgTwinError(ValueError):
    """Base of every error that a user can mend."""


class SpecificationError(EcgTwinError):
    """A specification or a command line says something impossible."""


class RecordError(EcgTwinError):
    """A source record cannot be used; the rest of an ingest goes on.

    ``kind`` is the reason as one snake_case word, the same for the same fault elsewhere; ``value``
    is what was found.
    """

    def __init__(self, message: str, *, kind: str = "unusable", value: object = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.value = str(value)


class SourceError(EcgTwinError):
    """A source cannot be read at all."""


class CheckpointError(EcgTwinError):
    """A checkpoint is missing, damaged, or of another kind than asked for."""


class EncoderError(EcgTwinError):
    """A text encoder cannot be had: its library or its weights are missing or of another kind."""


class EncoderMismatchError(EncoderError):
    """A text encoder is not the one that the networks were trained with."""


class TrainingError(EcgTwinError):
    """A training diverged, so that its loss is no number, or could not write its checkpoint."""


class StoreError(EcgTwinError):
    """An object store refused a request or cannot be reached."""


class CommitConflictError(StoreError):
    """Other bytes stand where an object was to be committed."""


class DamageError(StoreError):
    """An object exists but is not what its record says."""


class ClusterError(EcgTwinError):
    """A cluster starts no workers."""


class CohortMismatchError(EcgTwinError):
    """A cohort URL holds another plan, checkpoint or numerics fingerprint."""
