"""What MLflow loads of a packaged arm, as a model from code: its deploy.yaml, and scores of texts.

MLflow runs this file itself; it is no module that others import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas
from mlflow.pyfunc import PythonModel

SECONDS = 3600.0  # of one prediction: a batch job waits


class PackagedArm(PythonModel):  # type: ignore[misc]
    """Rows of `query` and `documents` in; for each row `order` (positions, best first) and `scores` out.

    model_config `trust`: true runs code that a model brings, and sends texts to servers, as deploy.yaml says.
    """

    def load_context(self, context: Any) -> None:
        """Raises UserError where a model is another one than was measured."""
        from rerankbench.basics.errors import UserError
        from rerankbench.report import deployment
        from rerankbench.serving import arm, trust
        from rerankbench.serving.line import Line
        from rerankbench.serving.models import Models

        file = Path(context.artifacts["deploy"])
        found = deployment.read(file)
        if not (context.model_config or {}).get("trust") and (problems := trust.problems(found)):
            raise UserError([line.replace("--trust", 'model_config={"trust": True}') for line in problems])
        models = Models()
        self.arm = arm.load(found, models, file.parent, search=False)
        self.line = Line(models, most=1_000_000)

    def predict(self, context: Any, model_input: pandas.DataFrame, params: Any = None) -> pandas.DataFrame:
        """A DataFrame with a row for each of the input's. Raises UserError where it cannot be scored."""
        import time

        from rerankbench.serving.line import Job

        until, asked = time.monotonic() + SECONDS, []
        for query, texts in zip(model_input["query"], model_input["documents"], strict=True):
            asked.append(self.line.enter(Job(self.arm.rerank(str(query), list(map(str, texts))), until)))
        found = [each.result() for each in asked]
        rows = [{"order": one.order.tolist(), "scores": one.relevance().tolist()} for one in found]
        return pandas.DataFrame(rows, columns=["order", "scores"])


mlflow.models.set_model(PackagedArm())
