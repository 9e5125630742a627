"""Analysis of a test's results, by the module of its task."""

from importlib import import_module

from convnext_dense.errors import UserError
from convnext_dense.report.findings import Analysis
from convnext_dense.runs.saved_runs import Test

ANALYSED = ("detection", "segmentation", "classification")  # a module of this package each


def analyse_test(test: Test) -> Analysis | None:
    """Analyses the results of a test; None without a results file, and for other tasks.

    Unreadable results and missing data give a note instead of an error, since the rest of the page
    does not need them.
    """
    results = test.results
    if results is None or test.task not in ANALYSED:
        return None
    module = import_module(f"convnext_dense.report.{test.task}")  # each task needs other libraries
    try:
        return module.analyse_results(test, results)
    except UserError as error:
        problem = str(error)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{results.name} cannot be read as results of {test.task} ({_describe(error)})."
    return Analysis(notes=[problem])


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
