"""Reads {"versions": [...], "documents": [...]} as JSON from standard input and prints what the API of each of these versions
of Kubernetes has against the documents, unknown fields included, as a JSON array of texts. The schemas are those of
kubernetes-validate; its own command reads them anew for each document, which takes a hundred times as long."""

import functools
import json
import sys

from kubernetes_validate import utils

utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)

given = json.load(sys.stdin)
found = []
for version in given["versions"]:
    if f"{version}.0" not in utils.all_versions():
        found.append(f"there are no schemas of Kubernetes {version}")
        continue
    for document in given["documents"]:
        name = f"{version}: {document['kind']} {document['metadata']['name']}"
        try:
            utils.validate(document, version, strict=True)
        except utils.ValidationError as error:
            found.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
        except utils.SchemaNotFoundError as error:
            found.append(f"{name}: {error.message}")
json.dump(found, sys.stdout)
