"""Ask the deployed model for one prediction and print what a newcomer wants to see next."""

import json
import sys
import urllib.request
from pathlib import Path

ROW = {
    "dep_delay": 42,
    "carrier": "UA",
    "origin": "EWR",
    "dest": "SFO",
    "distance": 2565,
    "month": 7,
    "hour": 17,
    "minute": 45,
    "temp": 86.0,
    "wind_speed": 12.7,
    "precip": 0.0,
    "visib": 10.0,
    "pressure": 1009.5,
}


def main() -> None:
    here = Path(sys.argv[1])
    deployment = json.loads((here / ".mlci/deploy/local/deployment.json").read_text())
    body = json.dumps({"rows": [ROW]})
    request = urllib.request.Request(
        f"{deployment['url']}/predict", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    metrics = json.loads((here / ".mlci/train/metrics.json").read_text())["test"]
    shown = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here
    print()
    print(f"request   POST {deployment['url']}/predict")
    print(f"          {body}")
    print(f"answer    {text.strip()}")
    print("metrics   " + ", ".join(f"{name} {metrics[name]:.4f}" for name in ("roc_auc", "log_loss", "accuracy")))
    print(f"verdict   {shown}/.mlci/validate/summary.md")
    print(f"report    {shown}/.mlci/validate/report/index.html")
    print(f"card      {shown}/.mlci/train/MODEL_CARD.md")
    print("again     make demo: unchanged stages are skipped")
    print(f"stop      .venv/bin/mlci -C {shown} stop --env local")


if __name__ == "__main__":
    main()
