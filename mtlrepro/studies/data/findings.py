"""What the chapter on the data sets claims of its data, and what each claim rests on."""

from mtlrepro.pages.findings import Finding

FINDINGS = (
    Finding(
        1,
        "Readers of the real formats lose no more than the encodings round away",
        "the-real-formats",
        "scenes written in the official layouts, prepared and read back",
    ),
    Finding(
        2,
        "Disparity has the right sign",
        "the-real-formats",
        "a real stereo pair and a pair of ours",
    ),
    Finding(
        3,
        "The class shares of Cityscapes follow from published class weights",
        "class-balance",
        "printed weights, and algebra with an inferred constant",
    ),
    Finding(
        4,
        "The scenes are exact",
        "exact-and-not-trivial",
        "scenes made for the purpose",
    ),
    Finding(
        5,
        "The scenes are not trivial: colours alone do not solve them",
        "exact-and-not-trivial",
        "our runs of a small network on scenes of its own size, with the seeds of the parameters",
    ),
)
