"""
Tests for :mod:`piman.web.openapi`: the document is about the routes that there are.
"""

import json
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as some

from piman.fleet.events import Recorded
from piman.fleet.model import NodeStatus
from piman.fleet.operations.contract import Explanation
from piman.fleet.operations.orders import Operation
from piman.web import shapes
from piman.web.api import API
from piman.web.editing.routes import DocumentRoutes
from piman.web.openapi import PATHS, SCHEMAS, document
from piman.web.schema import guarded
from tests.fleet_support import any_event, instances
from tests.web_support import InHalf, mistakes

ROOT = Path(__file__).resolve().parent.parent
METHODS = {"GET", "POST", "PUT", "DELETE", "PATCH"}
A_NUMBER = some.integers(min_value=0, max_value=2**53)


def routes() -> set[tuple[str, str]]:
    """Path and method of each route of the API, in OpenAPI's spelling."""
    rules = [*API.app.url_map.iter_rules(), *DocumentRoutes.app.url_map.iter_rules()]
    return {(re.sub(r"<(\w+)>", r"{\1}", rule.rule), method) for rule in rules for method in rule.methods & METHODS}


class DocumentTests(InHalf):
    """The document."""

    def test_routes(self) -> None:
        """Every route is described, and nothing else."""
        described = {(path, method.upper()) for path, methods in PATHS.items() for method in methods}
        self.assertEqual(described, routes())
        self.assertGreater(len(described), 12)

    def test_parameters(self) -> None:
        """Each name in a path is described as a parameter in the path."""
        for path, methods in PATHS.items():
            for method in methods.values():
                described = {each["name"] for each in method.get("parameters", ()) if each["in"] == "path"}
                self.assertEqual(described, set(re.findall(r"{(\w+)}", path)), path)

    def test_references(self) -> None:
        """Every reference leads somewhere, and every schema is referred to."""
        found = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document("1"))))
        self.assertEqual(found, set(SCHEMAS))

    def test_operation_ids(self) -> None:
        """Each operation has an id of its own: generated clients name their methods after it."""
        names = [method["operationId"] for methods in PATHS.values() for method in methods.values()]
        self.assertEqual(len(names), len(set(names)))

    def test_guarded(self) -> None:
        """Each path tells that the guard may refuse it; all but the sign of life need a token."""
        paths = document("1")["paths"]
        described = {(path, method): told for path, methods in paths.items() for method, told in methods.items()}
        for key, told in described.items():
            wanted = {"400", "421"} | ({"401", "403"} if "security" not in told else set())
            wanted |= {"411", "413"} if "requestBody" in told else set()
            self.assertEqual(wanted - set(told["responses"]), set(), key)
        self.assertEqual([key for key, told in described.items() if "security" in told], [("/healthz", "get")])

    def test_own_words(self) -> None:
        """What a path says itself of an answer is kept."""
        paths = {"/x": {"post": {"requestBody": {}, "responses": {"413": {"description": "Ours."}, "200": {}}}}}
        told = guarded(paths)["/x"]["post"]["responses"]
        self.assertEqual(told["413"], {"description": "Ours."})
        self.assertEqual(list(told), ["200", "400", "401", "403", "411", "413", "421"])

    def test_page(self) -> None:
        """docs/reference/api.md names every path, and every code of an error."""
        page = (ROOT / "docs/reference/api.md").read_text("utf-8")
        named = (
            page.replace("NAME", "{name}").replace("MAC`", "{name}`").replace(".../ID", "/api/v1/operations/{identity}")
        )
        named = named.replace("/ID/", "/{identity}/")
        self.assertEqual([path for path in PATHS if f"{path}`" not in named and f"{path}?" not in named], [])
        web = ROOT / "piman/web"
        sources = "".join(path.read_text("utf-8") for path in (*web.glob("*.py"), *(web / "editing").glob("*.py")))
        codes = set(re.findall(r'Refusal\(\s*\d+,\s*"([a-z-]+)"', sources))
        self.assertGreater(len(codes), 10)
        self.assertEqual([code for code in codes if f"`{code}`" not in page], [])

    def test_served(self) -> None:
        """It is served as it is."""
        status, found = self.ask("GET", "/openapi.json")
        self.assertEqual((status, found["openapi"]), (200, "3.1.0"))
        self.assertEqual(found["paths"].keys(), PATHS.keys())


class SchemaTests(InHalf):
    """Whatever a value holds, its shape fits its schema."""

    @given(any_event(), A_NUMBER)
    def test_events(self, event: object, number: int) -> None:
        """Any event."""
        self.fits(shapes.event(Recorded(id=number, time=1.0, event=event)), "Event")

    @given(instances(NodeStatus))
    def test_statuses(self, status: NodeStatus) -> None:
        """Any status."""
        self.fits(shapes.node(None, status, None, {}), "Node")

    @given(instances(Operation))
    def test_operations(self, operation: Operation) -> None:
        """Any operation."""
        self.fits(shapes.operation(operation, {}), "Operation")
        self.fits(shapes.summary(operation), "Summary")

    def test_checker(self) -> None:
        """The checker finds what does not fit: a wrong type, a missing key, one too many, true for a number."""
        whole = shapes.explanation(Explanation("a", "b"))
        for wrong in ({"sentence": 1, "remedy": ""}, {"sentence": ""}, {**whole, "more": ""}, [], None):
            self.assertNotEqual(mistakes(wrong, SCHEMAS["Explanation"]), [], wrong)
        self.assertNotEqual(mistakes(True, {"type": "integer"}), [])
        self.assertEqual(mistakes(whole, SCHEMAS["Explanation"]), [])
