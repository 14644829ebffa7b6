import signal
import subprocess
import sys

from openai import OpenAI


def test_serves_as_its_own_process() -> None:
    command = [sys.executable, "-m", "tocsin.lab.fake_llm", "--text", "hello", "--latency-ms", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        with OpenAI(base_url=base_url, api_key="x", max_retries=0) as client:
            said = client.responses.create(model="m", input="hi").output_text
        process.send_signal(signal.SIGTERM)

    assert ("hello", 0) == (said, process.returncode)
