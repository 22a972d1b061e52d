"""The sections of a configuration that say what is learned, and from what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from frnet.datasets import FaceRanges

from .config_values import Count, Location, Section, Share

__all__ = [
    "Data",
    "MadeFacesData",
    "ModelSection",
    "MorphableSection",
    "SyntheticData",
    "ThreeDDFAListsData",
    "ThreeHundredWLPData",
]


class ModelSection(Section):
    """The network.

    Attributes:
        name: one of :func:`frnet.models.list_models`.
        settings: fields of its config, such as ``width``.
        pretrained: a checkpoint whose weights it starts with; for VDC after WPDC, say, or for larger crops.
    """

    name: str
    settings: dict[str, Any] = Field({})
    pretrained: Location | None = None


class MorphableSection(Section):
    """The morphable model whose parameters the network learns.

    Attributes:
        path: as :func:`frnet.morphable.open_morphable` takes it; synthetic data can do without, faces from
            a store have the built-in face.
        landmarks: the folder of the landmark basis, for a grid.
        whitening: a file, ``labels`` for mean and standard deviation of the training labels, or null for the one that
            comes with the model or with the data.
    """

    path: Location | None = None
    landmarks: Location | None = None
    whitening: Literal["labels"] | Location | None = None


class SyntheticData(Section):
    """:class:`frnet.datasets.ProceduralFaces`, drawn before training starts.

    Attributes:
        count: training faces.
        validation_count: others, to validate with.
        data_seed: of the training faces; the others have the next one.
        ranges: what is drawn.
        cache: the folder of the pictures; null: ``synthetic`` in the run's.
    """

    kind: Literal["synthetic"]
    count: Count = 4096
    validation_count: Count = 256
    data_seed: int = 0
    ranges: FaceRanges = FaceRanges()
    cache: Location | None = None


class MadeFacesData(Section):
    """:class:`frnet.datasets.SyntheticFaces`: rendered faces and turned portraits that were made before.

    Attributes:
        store: the folder that ``tools/render_faces.py`` filled.
        validation_store: another one, to validate with; null: a share of the training faces.
        validation_share: of the training faces, held out where there is no store for that.
        validation_count: most faces to validate with.
        mirrored: whether training faces are mirrored at random.
    """

    kind: Literal["faces"]
    store: Location
    validation_store: Location | None = None
    validation_share: Share = 0.01
    validation_count: Count = 2000
    mirrored: bool = True


class ThreeHundredWLPData(Section):
    """:class:`frnet.datasets.ThreeHundredWLP`.

    Attributes:
        root: the folder of AFW, AFW_Flip, HELEN and so on.
        subsets: folders in it; null: all that are there.
        bfm: the model of the landmarks, with as many components as it has; null: the file of the network's morphable
            model. Of a Basel Face Model (.mat) all 199 + 29 are taken, so that landmarks are exact.
        validation_share: of the photographs, held out.
        cache: the folder of the index; null: the user's.
    """

    kind: Literal["300w-lp"]
    root: Location
    subsets: list[str] | None = None
    bfm: Location | None = None
    validation_share: Share = 0.02
    cache: Location | None = None


class ThreeDDFAListsData(Section):
    """:class:`frnet.datasets.ThreeDDFALists`.

    Attributes:
        params: ``param_all_norm.pkl`` or an array of its kind.
        file_list: the names, such as ``train_aug_120x120.list.train``.
        images: the folder of crops.
        whitening: of the labels, ``param_whitening.pkl``.
        validation_params: of the held-out faces, ``param_all_norm_val.pkl``; null: a share of the training faces.
        validation_file_list: their names.
        validation_share: of the training faces, held out where there are no validation lists.
        cache: the folder of the index; null: the user's.
    """

    kind: Literal["3ddfa-lists"]
    params: Location
    file_list: Location
    images: Location
    whitening: Location
    validation_params: Location | None = None
    validation_file_list: Location | None = None
    validation_share: Share = 0.02
    cache: Location | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> ThreeDDFAListsData:
        if (self.validation_params is None) != (self.validation_file_list is None):
            raise ValueError("validation_params and validation_file_list go together: give both or neither")
        return self


Data = Annotated[SyntheticData | MadeFacesData | ThreeHundredWLPData | ThreeDDFAListsData, Field(discriminator="kind")]
