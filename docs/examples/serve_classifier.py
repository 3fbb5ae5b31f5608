"""Serve a classifier by the Open Inference Protocol, with the standard library alone; for trials on one machine.

python docs/examples/serve_classifier.py bundled:fashion-cnn 8000
snellen audit http://127.0.0.1:8000/v2/models/served bundled:fashion-mnist
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

import snellen


def server(classifier: snellen.Classifier, port: int, name: str = "served") -> ThreadingHTTPServer:
    """A server of one classifier; ``serve_forever()`` starts it. Images are float32 (n, 3, h, w) in [0, 1]."""
    about = {
        "class_names": classifier.class_names,
        "preparation": classifier.preparation.model_dump(),
        "task": classifier.task,
        "output": classifier.output,
    }
    images = {"name": "images", "datatype": "FP32", "shape": [-1, 3, *classifier.preparation.size]}
    scores = {"name": "scores", "datatype": "FP32", "shape": [-1, len(classifier.class_names)]}
    description = {"name": name, "platform": "snellen", "inputs": [images], "outputs": [scores]}
    description["parameters"] = {"snellen": json.dumps(about)}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body are written one after the other

        def do_GET(self) -> None:
            known = {"/v2": {"name": "snellen", "extensions": []}, f"/v2/models/{name}": description}
            self.answer(known.get(self.path))

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"][0]
            with torch.no_grad():
                made = classifier(torch.tensor(asked["data"], dtype=torch.float32).reshape(asked["shape"]))
            output = {**scores, "shape": list(made.shape), "data": made.flatten().tolist()}
            self.answer({"model_name": name, "model_version": "1", "outputs": [output]})

        def answer(self, told: object) -> None:
            body = json.dumps(told if told is not None else {"error": f"nothing at {self.path}"}).encode()
            self.send_response(200 if told is not None else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    server(snellen.load_classifier(sys.argv[1]), int(sys.argv[2])).serve_forever()
