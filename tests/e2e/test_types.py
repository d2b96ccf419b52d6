"""What `chatrt types` writes, read by the TypeScript compiler beside the message types of ai v5, v6 and v7."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chatrt.agent_types import declare_agents
from tests.e2e import typed_agents

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "client"
COMPILER = CLIENT / "node_modules" / "typescript" / "bin" / "tsc"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

Compile = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def compiled(node, tmp_path) -> Compile:
    """Compile files in a folder, as strictly as it goes."""
    assert COMPILER.is_file(), "TypeScript is needed: npm ci --prefix client"

    def compiler(line: str | None = None, **files: str) -> subprocess.CompletedProcess[str]:
        entry = HERE / "node_modules" / f"ai-v{line}" / "dist" / "index.d.ts"
        options = {
            "strict": True,
            "noEmit": True,
            "exactOptionalPropertyTypes": True,
            "noUncheckedIndexedAccess": True,
            "skipLibCheck": True,
            "target": "es2023",
            "module": "preserve",
            "moduleResolution": "bundler",
            "types": [],
            "paths": {"ai": [str(entry)], "@chatrt/client": [str(CLIENT / "src" / "index.ts")]} if line else {},
        }
        for name, text in files.items():
            (tmp_path / f"{name}.ts").write_text(text)
        (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["*.ts"]}))
        command = [node, str(COMPILER), "-p", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)

    return compiler


@pytest.mark.parametrize("line", ["5", "6", "7"])
def test_a_page_is_held_to_what_the_agents_take(compiled, line: str):
    """What fits compiles, and each thing that does not is an error, beside each line of the AI SDK."""
    done = compiled(line, agents=declare_agents(typed_agents.agents), client=(HERE / "typed_client.ts").read_text())
    assert done.returncode == 0, done.stdout


TRANSPORT = """\
import { ChatrtTransport } from "@chatrt/client";
import type { AgentMessage, Agents } from "./agents";

const transport = new ChatrtTransport<Agents["support"]>({ baseUrl: "", agent: "support", clientData: { userId: "u" } });
export const sent = transport.sendAction("c1", { type: "rollback", targetMessageId: "m1" });
// @ts-expect-error a wrong action
export const wrong = transport.sendAction("c1", { type: "explode" });
// @ts-expect-error client data of another kind
export const strange = new ChatrtTransport<Agents["support"]>({ baseUrl: "", agent: "support", clientData: { user: 1 } });
export async function messages(): Promise<AgentMessage<"support">[]> {
  return (await transport.load("c1")).messages;
}
"""


@pytest.mark.parametrize("line", ["5", "6", "7"])
def test_the_transport_of_chatrt_is_held_to_it_too(compiled, line: str):
    """`ChatrtTransport` takes an entry of the declarations for all it sends and shows."""
    done = compiled(line, agents=declare_agents(typed_agents.agents), page=TRANSPORT)
    assert done.returncode == 0, done.stdout


def test_without_the_ai_sdk_nothing_is_imported(compiled):
    """Clients that do not use it compiled without the package."""
    text = declare_agents(typed_agents.agents, ai_sdk=False)
    assert "import" not in text
    page = (
        'import type { AgentAction } from "./agents";\nexport const undo: AgentAction<"support"> = { type: "undo" };\n'
    )
    done = compiled(agents=text, page=page)
    assert done.returncode == 0, done.stdout


def test_a_page_that_does_not_fit_is_told_so(compiled):
    """The compiler is really asked."""
    page = (
        'import type { AgentAction } from "./agents";\nexport const undo: AgentAction<"support"> = { type: "redo" };\n'
    )
    done = compiled(agents=declare_agents(typed_agents.agents, ai_sdk=False), page=page)
    assert done.returncode != 0
    assert '"redo"' in done.stdout
