"""Small stand-ins for the trackers' packages, with the real signatures of what is called.

Each notes what it is told in ``told``; ``broken`` makes every call fail.
"""

from types import ModuleType, SimpleNamespace


class Fake(ModuleType):
    """A package; ``told`` holds a (what, arguments) for each call."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.told: list[tuple[str, dict]] = []
        self.broken = False

    def take(self, what: str, **arguments) -> None:
        if self.broken:
            raise ConnectionError("the server is gone")
        self.told.append((what, arguments))

    def of(self, what: str) -> list[dict]:
        return [arguments for name, arguments in self.told if name == what]


def wandb() -> Fake:
    package = Fake("wandb")

    class Run:
        step, url, dir = 0, None, "offline"

        def __init__(self, id) -> None:
            self.id = id
            self.config = SimpleNamespace(update=self._update)

        def _update(self, d, allow_val_change=None) -> None:
            package.take("config", d=d, allow_val_change=allow_val_change)

        def log(self, data, step=None, commit=None) -> None:
            package.take("log", data=data, step=step)
            self.step = step

        def define_metric(self, name, step_metric=None, summary=None) -> None:
            package.take("define_metric", name=name, summary=summary)

        def save(self, glob_str, base_path=None, policy="live") -> None:
            package.take("save", glob_str=glob_str)

        def finish(self, exit_code=None) -> None:
            package.take("finish")

    def init(entity=None, project=None, dir=None, id=None, name=None, resume=None, mode=None):
        package.take("init", project=project, dir=dir, id=id, name=name, resume=resume)
        return Run(id or "fresh")

    package.init, package.Image = init, lambda array: ("image", array.shape)
    return package


def mlflow() -> Fake:
    package = Fake("mlflow")
    params: dict[str, str] = {}

    class MlflowClient:
        def __init__(self, tracking_uri=None, registry_uri=None) -> None:
            self.uri = tracking_uri

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name, artifact_location=None, tags=None) -> str:
            package.take("experiment", name=name)
            return "1"

        def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
            package.take("create_run", run_name=run_name)
            return SimpleNamespace(info=SimpleNamespace(run_id="fresh"))

        def update_run(self, run_id, status=None, name=None) -> None:
            package.take("update_run", run_id=run_id, status=status)

        def get_run(self, run_id):
            return SimpleNamespace(data=SimpleNamespace(params=dict(params)))

        def log_batch(self, run_id, metrics=(), params_=(), tags=(), synchronous=None, **more):
            for param in more.get("params", params_):
                if params.setdefault(param.key, param.value) != param.value:
                    raise ValueError("Changing param values is not allowed.")
            rows = {metric.key: metric.value for metric in metrics}
            package.take("log_batch", data=rows, step=metrics[0].step if metrics else None)

        def log_text(self, run_id, text, artifact_file) -> None:
            package.take("config", text=text)

        def log_image(
            self, run_id, image, artifact_file=None, key=None, step=None, timestamp=None,
            synchronous=None,
        ) -> None:  # fmt: skip
            package.take("log_image", key=key, step=step, shape=image.shape)

        def log_artifact(self, run_id, local_path, artifact_path=None) -> None:
            package.take("save", glob_str=local_path)

        def set_terminated(self, run_id, status=None, end_time=None) -> None:
            package.take("finish")

    package.MlflowClient = MlflowClient
    package.entities = SimpleNamespace(
        Metric=lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step),
        Param=lambda key, value: SimpleNamespace(key=key, value=value),
    )
    return package


def clearml() -> Fake:
    package = Fake("clearml")

    class Task:
        id = "fresh"

        @classmethod
        def init(
            cls, project_name=None, task_name=None, reuse_last_task_id=True,
            continue_last_task=False, auto_connect_arg_parser=True, auto_connect_frameworks=True,
        ):  # fmt: skip
            package.take("init", id=continue_last_task or None, patches=auto_connect_frameworks)
            return cls()

        def set_initial_iteration(self, offset=0) -> None:
            package.take("offset", offset=offset)

        def get_output_log_web_page(self) -> str:
            return "http://task"

        def connect(self, mutable, name=None) -> None:
            package.take("config", d=mutable)

        def connect_configuration(self, configuration, name=None) -> None:
            package.take("config", d=configuration)

        def get_logger(self):
            return SimpleNamespace(report_scalar=self._scalar, report_image=self._image)

        def _scalar(self, title, series, value, iteration) -> None:
            package.take("log", data={f"{series}/{title}": value}, step=iteration)

        def _image(self, title, series, iteration=None, local_path=None, image=None) -> None:
            package.take("log_image", key=f"{series}/{title}", step=iteration, shape=image.shape)

        def upload_artifact(self, name, artifact_object) -> None:
            package.take("save", glob_str=artifact_object)

        def close(self) -> None:
            package.take("finish")

    package.Task = Task
    return package


def trackio() -> Fake:
    package = Fake("trackio")

    def init(project, name=None, space_id=None, config=None, resume="never", embed=True):
        package.take("init", project=project, id=name if resume == "allow" else None)

        def log(metrics, step=None):
            package.take("log", data=metrics, step=step)

        update = SimpleNamespace(update=lambda d: package.take("config", d=d))
        return SimpleNamespace(name=name, config=update, log=log)

    package.init, package.Image = init, lambda value: ("image", value.shape)
    package.log_artifact = lambda artifact_or_path, name=None, type=None: package.take(
        "save", glob_str=artifact_or_path
    )
    package.finish = lambda: package.take("finish")
    return package


MAKERS = {"wandb": wandb, "mlflow": mlflow, "clearml": clearml, "trackio": trackio}
