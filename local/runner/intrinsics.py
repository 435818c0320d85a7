"""Evaluate those intrinsic functions of CloudFormation that a template needs on one machine."""

import re
from collections.abc import Callable, Mapping
from typing import Any

PSEUDO = {
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "000000000000",
    "AWS::Partition": "aws",
    "AWS::StackName": "deeplens-local",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = object()
VARIABLE = re.compile(r"\$\{([^!][^}]*)\}")

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "Fn::And": all,
    "Fn::Equals": lambda sides: sides[0] == sides[1],
    "Fn::Join": lambda argument: argument[0].join(map(str, argument[1])),
    "Fn::Not": lambda conditions: not conditions[0],
    "Fn::Or": any,
    "Fn::Select": lambda argument: argument[1][int(argument[0])],
    "Fn::Split": lambda argument: str(argument[1]).split(argument[0]),
}
"""Intrinsic functions that depend on nothing but their resolved argument."""


class Resolver:
    """Replace intrinsics by values.

    A reference to a resource without a local value becomes ``local:Name``. Most of them are ARNs that nothing reads.
    """

    def __init__(
        self, document: Mapping[str, Any], parameters: Mapping[str, str], resources: Mapping[str, str]
    ) -> None:
        defaults = {name: str(spec.get("Default", "")) for name, spec in document.get("Parameters", {}).items()}
        self._values = {**PSEUDO, **resources, **defaults, **parameters}
        self._conditions: Mapping[str, Any] = document.get("Conditions", {})
        self._mappings: Mapping[str, Any] = document.get("Mappings", {})

    def resolve(self, node: Any) -> Any:
        """Return ``node`` with every intrinsic replaced; ``AWS::NoValue`` removes its key or item."""
        if isinstance(node, list):
            return [value for item in node if (value := self.resolve(item)) is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            name, argument = next(iter(node.items()))
            if name in ("Ref", "Condition") or name.startswith("Fn::"):
                return self._call(name, argument)
        return {key: value for key, item in node.items() if (value := self.resolve(item)) is not NO_VALUE}

    def holds(self, condition: str | None) -> bool:
        """Return whether a resource with this ``Condition`` exists; None stands for no condition."""
        return condition is None or bool(self.resolve(self._conditions[condition]))

    def _call(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return NO_VALUE if argument == "AWS::NoValue" else self._reference(argument)
            case "Fn::GetAtt":
                return self._reference(".".join(argument))
            case "Fn::Sub":
                return self._substitute(argument)
            case "Fn::If":
                condition, yes, no = argument
                return self.resolve(yes if self.holds(condition) else no)
            case "Condition":
                return self.holds(argument)
            case "Fn::FindInMap":
                table, row, column = self.resolve(argument)
                return self._mappings[table][row][column]
        return FUNCTIONS[name](self.resolve(argument)) if name in FUNCTIONS else f"local:{name}"

    def _reference(self, name: str) -> str:
        return self._values.get(name, f"local:{name}")

    def _substitute(self, argument: Any) -> str:
        text, variables = argument if isinstance(argument, list) else (argument, {})
        values = self.resolve(variables)
        replaced = VARIABLE.sub(lambda match: str(values.get(match[1], self._reference(match[1]))), text)
        return replaced.replace("${!", "${")
