"""Turn a training run into weights for inference: `python -m snn_encoder.export --run FOLDER`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from snn_encoder.export.weights import export, model_card, trained
from snn_encoder.recipe import load_recipe


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m snn_encoder.export", description=__doc__)
    parser.add_argument("--config", default="small", help="nano, small, base or a TOML file")
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--timesteps", type=int, default=4, help="default T of the encoder")
    args = parser.parse_args(argv)
    recipe = load_recipe(args.config)
    trainer = trained(recipe, args.run)
    config = export(trainer.net, args.out, recipe, args.timesteps)
    (args.out / "README.md").write_text(model_card(recipe, config, trainer), encoding="utf-8")
    print(json.dumps(config, indent=2))


if __name__ == "__main__":
    main()
