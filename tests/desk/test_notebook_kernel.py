"""The desk in a real notebook: run by nbclient in a real kernel, and asked over the channel of its widget."""

import json

import pytest

from snellen.desk.desk import Desk
from snellen.desk.run_folder import finding_id

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("anywidget")

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.filterwarnings("ignore")
def test_a_review_in_a_real_kernel_keeps_its_decisions(place):
    from nbclient.util import run_sync

    cells = [
        f"import snellen\nreview = snellen.open_report({str(place / 'first')!r}).review()\nreview",
        "assert review._served is None, 'no port is opened'\nreview.decisions()",
        "review.stop()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3")
    desk = Desk(place)
    run = next(one for one in desk.workplace.runs() if one.name == "first")
    queue = desk.queue(run, run.findings[0])
    with client.setup_kernel():
        client.execute_cell(notebook.cells[0], 0)
        (output,) = [one for one in notebook.cells[0].outputs if VIEW in one.get("data", {})]
        model = output["data"][VIEW]["model_id"]
        assert "token=" not in json.dumps(notebook), "no token stays in the file"

        def ask(method, address, body=""):
            content = {"id": "a-1", "method": method, "address": address, "body": body, "kind": "application/json"}
            data = {"method": "custom", "content": content}
            message = client.kc.session.msg("comm_msg", {"comm_id": model, "data": data})
            client.kc.shell_channel.send(message)
            while True:
                found = run_sync(client.kc.get_iopub_msg)(timeout=600)
                content = found["content"]
                if found["msg_type"] == "comm_msg" and content["data"].get("method") == "custom":
                    return content["data"]["content"], bytes(found["buffers"][0])

        answer, page = ask("GET", f"/runs/{run.id}")
        assert answer["status"] == 200
        assert b"What to review" in page
        given = {"item": queue.items[0].key, "reviewer": "Ada", "verdict": "drop"}
        answer, _ = ask("POST", f"/runs/{run.id}/review/{finding_id(queue.finding)}/decide", json.dumps(given))
        assert answer["status"] == 200
        client.execute_cell(notebook.cells[1], 1)
        assert "'verdict': 'drop'" in notebook.cells[1].outputs[0]["data"]["text/plain"]
        client.execute_cell(notebook.cells[2], 2)
    (kept,) = desk.decisions.standing(run.key, finding_id(queue.finding))
    assert kept.reviewer == "Ada"
    desk.close()
