"""Define a contract for import-linter: which modules may import modules whose names match shell patterns."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class ReservedContract(Contract):
    """Allow only ``importers`` to import the modules in ``reserved``; those may import each other in one package.

    import-linter's ``protected`` contract does the same, but knows no patterns such as ``deeplens.*.postgres*``.

    Attributes
    ----------
    exceptions : other allowed imports, as lines ``importer -> imported``; each must exist.
    """

    type_name = "reserved"

    # import-linter replaces the fields by their values.
    reserved: Any = fields.ListField(fields.StringField())
    importers: Any = fields.ListField(fields.StringField(), required=False)
    exceptions: Any = fields.SetField(fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - import-linter's signature
        imports = {
            f"{importer} -> {module}"
            for module in graph.modules
            if _matches(module, self.reserved)
            for importer in graph.find_modules_that_directly_import(module)
            if not _matches(importer, self.importers or ()) and not self._is_sibling(importer, module)
        }
        exceptions = set(self.exceptions or ())
        return ContractCheck(
            kept=imports == exceptions,
            metadata={"forbidden": sorted(imports - exceptions), "unused": sorted(exceptions - imports)},
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["forbidden"]:
            output.print_error(f"not allowed: {line}", bold=False)
        for line in check.metadata["unused"]:
            output.print_error(f"remove the unused exception: {line}", bold=False)

    def _is_sibling(self, importer: str, module: str) -> bool:
        return importer.rpartition(".")[0] == module.rpartition(".")[0] and _matches(importer, self.reserved)


def _matches(module: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(module, pattern) for pattern in patterns)
