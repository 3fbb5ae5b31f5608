"""JSON Schemas of the files that Snellen writes: docs/schemas/NAME.schema.json and the table of them.

``write_tables.py schemas`` writes them. They are made of the pydantic models that write and read the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from snellen.auditing.compare.comparison import Comparison
from snellen.auditing.compare.production import Monitoring
from snellen.auditing.compare.requirements_table import RequirementsTable
from snellen.auditing.report import report_schema
from snellen.auditing.subject import Inputs
from snellen.core.artifact import Card
from snellen.core.formats import FORMATS, MANIFEST, SYSTEM, VERSION, WRITER
from snellen.core.index import ArchitectureEntry, CheckEntry, CommandEntry, MethodEntry, Target
from snellen.core.run import canonical_json
from snellen.core.system import System
from snellen.methods.synthesis.synthetic_set import SyntheticSet
from snellen.models.weights.bundled_folders import FolderCard
from snellen.reproduction.shared.documents import Tables, markdown_table
from snellen.systems.conditional_generation.record import RobustnessStudy
from snellen.systems.continuous_nuisance.nuisance_set import NuisanceSet
from snellen.systems.functional_hashing.record import CellSearch
from snellen.systems.generator_failure.record import GeneratorFailures
from snellen.systems.language_model_annotation.record import LabelledConcept
from snellen.systems.scaling_laws.synthesis_plan import SynthesisPlan
from snellen.systems.viewpoints.attacked_view_set import AttackedViewSet
from snellen.systems.worst_case_forget_set.record import WorstCaseForgetSet
from snellen.verbs.attacked_set import AttackedSet
from snellen.verbs.certified_set import CertifiedSet
from snellen.verbs.explained_set import ExplainedSet
from snellen.verbs.forgotten_prompts import ForgottenPrompts
from snellen.verbs.forgotten_set import ForgottenSet
from snellen.verbs.generated_set import GeneratedSet
from snellen.verbs.scanned_set import ScannedSet
from snellen.verbs.shifted_set import ShiftedSet
from snellen.verbs.treated import TreatmentRecord

#: Models of the files that are one model, or one of several.
MODELS: Mapping[str, tuple[type[BaseModel], ...]] = {
    "attack.json": (AttackedSet, AttackedViewSet),
    "card.json": (Card, FolderCard),
    "certify.json": (CertifiedSet,),
    "comparison.json": (Comparison,),
    "explain.json": (ExplainedSet,),
    "forget.json": (ForgottenSet,),
    "forget-prompts.json": (ForgottenPrompts,),
    "forget-set.json": (WorstCaseForgetSet,),
    "generate.json": (GeneratedSet,),
    "inputs.json": (Inputs,),
    "generator-failures.json": (GeneratorFailures,),
    "label.json": (LabelledConcept,),
    "monitoring.json": (Monitoring,),
    "nuisance.json": (NuisanceSet,),
    "requirements.json": (RequirementsTable,),
    "scan.json": (ScannedSet,),
    "search.json": (CellSearch,),
    "shift.json": (ShiftedSet,),
    "synthesis-plan.json": (SynthesisPlan,),
    "robustness-study.json": (RobustnessStudy,),
    "synthesize.json": (SyntheticSet,),
    "treatment.json": (TreatmentRecord,),
}

#: Fields of rows of system.toml that stand in the names of the tables, or in no file.
_NAMED = ("name", "area", "group", "registered")

#: Fields of a system that are not in system.toml: name of the folder, rows of methods, what stands by the experiment.
_ELSEWHERE = ("name", "methods", "experiment", "claims", "gates", "budget", "dropped", "headlines")


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of each file, by the name of the file."""
    found = {file: _of_models(file, models) for file, models in MODELS.items()}
    found["report.json"] = report_schema()
    # The plan of a run depends on its kind.
    found["manifest.json"] = MANIFEST.schema({"properties": {"kind": {"type": "string"}}, "type": "object"})
    found["system.toml"] = _of_system()
    return dict(sorted(found.items()))


def _of_models(file: str, models: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    """The schema of a file that holds one model, or one of several."""
    if len(models) == 1:
        return FORMATS[file].schema(models[0].model_json_schema(mode="serialization"))
    _, schema = models_json_schema([(model, "serialization") for model in models])
    whole = FORMATS[file].schema({})
    for model in models:  # each forbids other keys, and so must name those of the format
        definition = FORMATS[file].schema(schema["$defs"][model.__name__])
        schema["$defs"][model.__name__] = {key: value for key, value in definition.items() if key != "$schema"}
    choices = [{"$ref": f"#/$defs/{model.__name__}"} for model in models]
    return {"$schema": whole["$schema"], **schema, "anyOf": choices, "title": whole["title"]}


def _of_system() -> dict[str, Any]:
    """The schema of system.toml, where the keys of the format may be left out."""
    schema = System.model_json_schema()
    del schema["$defs"]  # of claims.toml alone
    own = {name: value for name, value in schema["properties"].items() if name not in _ELSEWHERE}
    tables = {
        "architectures": _table(_row(ArchitectureEntry)),
        "checks": _table(_row(CheckEntry)),
        "commands": _table(_table(_row(CommandEntry))),
        "forms": _table(_table(_row(Target))),
        "heads": _table(_row(Target)),
        "methods": _table(_table(_row(MethodEntry))),
        "uses": {"items": {"type": "string"}, "type": "array"},
    }
    found = SYSTEM.schema({**schema, "properties": own | tables})
    found["required"] = sorted(set(found["required"]) - {VERSION, WRITER, *_ELSEWHERE})
    return found


def _table(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"additionalProperties": row, "type": "object"}


def _row(entry: type[Target]) -> dict[str, Any]:
    schema = TypeAdapter(entry).json_schema()
    properties = {name: value for name, value in schema["properties"].items() if name not in _NAMED}
    required = [name for name in schema["required"] if name not in _NAMED]
    return {**schema, "additionalProperties": False, "properties": properties, "required": required}


def path_of(file: str) -> str:
    """Where the schema of a file lies, relative to the working copy."""
    return f"docs/schemas/{file.partition('.')[0]}.schema.json"


def write_schemas(root: Path, *, check: bool) -> list[str]:
    """Write all schemas; returns the paths of those that are stale."""
    stale = []
    for file, schema in schemas().items():
        path, fresh = root / path_of(file), canonical_json(schema)
        if not path.is_file() or path.read_bytes() != fresh:
            stale.append(path_of(file))
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(fresh)
    return stale


def _formats(root: Path) -> str:
    rows = [
        [f"`{file}`", FORMATS[file].content, str(FORMATS[file].version), f"[schema]({Path(path_of(file)).name})"]
        for file in schemas()
    ]
    return markdown_table(["file", "what it is", "version", ""], rows, ["---", "---", "---:", "---"])


TABLES: Tables = {"docs/schemas/README.md": {"formats": _formats}}
