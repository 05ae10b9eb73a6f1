"""`qtool doctor`: versions, CPU, extras; what a bug report should hold."""

from __future__ import annotations


def doctor() -> None:
    """qtool doctor

    Versions, CPU features and extras: what to look at when something is slow or missing.
    """
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from qtool import __version__, runtime
    from qtool.cli import show
    from qtool.cli.console import out
    from qtool.errors import install_command

    made = show.table("what", "found", "")
    show.row(made, "qtool", __version__, "")
    show.row(made, "python", platform.python_version(), platform.platform())
    for package in ("onnx", "onnxruntime", "onnx-ir", "numpy", "pillow", "safetensors"):
        show.row(made, package, version(package), "")
    show.row(made, "cores", os.cpu_count() or "?", platform.machine())
    found = runtime.cpu_features()
    for name, effect in runtime.CPU_FEATURES.items():
        answer = "unknown" if found is None else ("yes" if name in found else "no")
        show.row(made, name, answer, effect)
    for extra, (package, purpose) in EXTRAS.items():
        try:
            show.row(made, f"extra {extra}", version(package), purpose)
        except PackageNotFoundError:
            show.row(made, f"extra {extra}", "missing", f"{purpose}: {install_command(extra)}")
    show.row(made, "telemetry", "off", "ORT_DISABLE_TELEMETRY=1")
    out.print(made)


# extra -> the package it brings, what for
EXTRAS = {
    "cluster": ("distributed", "several processes and machines, data at a URL"),
    "detection": ("pycocotools", "mAP of detectors"),
    "parquet": ("pyarrow", "tables in .parquet files"),
    "plot": ("matplotlib", "plots of qtool sweep"),
    "tokenizers": ("tokenizers", "text through a tokenizer.json"),
    "tune": ("torch", "learning by qtool tune; the CPU build is enough"),
}
