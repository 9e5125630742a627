"""A test's results, looked at by the module of its task."""

from importlib import import_module

from convnext_dense.errors import UserError
from convnext_dense.report.findings import Analysis
from convnext_dense.report.work_folders import Test


def analyse(test: Test) -> Analysis | None:
    """Looks at the results of a test; None where it wrote none.

    Results that cannot be read, or whose data is missing, give a note instead of an error: the
    rest of the page does not need them.
    """
    results = test.results
    if results is None or test.task is None:
        return None
    module = import_module(f"convnext_dense.report.{test.task}")  # each needs its own libraries
    try:
        return module.analyse(test, results)
    except UserError as error:
        problem = str(error)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{results.name} cannot be read as results of {test.task} ({_words(error)})."
    return Analysis(notes=[problem])


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
