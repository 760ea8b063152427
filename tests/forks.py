"""otter-grader without the time its imports take: its processes are forks of one that has done them.

Commands and kernels share nothing else. What has been imported is neither otter nor what notebooks ask for,
but what otter, which comes first in each kernel that grades, imports in turn.
"""

import contextlib
import io
import multiprocessing
import os
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["ipykernel.kernelapp", "ipylab", "nbconvert", "pandas"])
FORK = multiprocessing.get_context("fork")


def otter(*arguments):
    """Run ``otter ARGUMENTS``."""
    with ProcessPoolExecutor(1, SERVER) as pool:
        error, output = pool.submit(command, list(map(str, arguments))).result()
    assert error is None, f"{output}\n{error}"


def command(arguments):
    """In a process of its own: the command, and the one kernel it starts."""
    ours, theirs = FORK.Pipe()
    kernel = Kernel(theirs)
    kernel.start()  # as long as there are no threads, and before otter is there

    from jupyter_client.provisioning import LocalProvisioner
    from otter.cli import cli

    async def launch_kernel(self, command, *, cwd=None, **_):
        ours.send((command[command.index("ipykernel_launcher") + 1 :], cwd or os.getcwd()))
        self.process, self.pid = kernel, kernel.pid
        return self.connection_info

    LocalProvisioner.launch_kernel = launch_kernel
    error, output = None, io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            cli(arguments, standalone_mode=False)
        except Exception:
            error = traceback.format_exc()
    kernel.kill()
    return error, output.getvalue()


class Kernel(FORK.Process):
    """``python -m ipykernel_launcher``, waiting for its arguments; in the place of a subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, connection):
        super().__init__()
        self.connection = connection

    def run(self):
        from ipykernel.kernelapp import IPKernelApp

        arguments, folder = self.connection.recv()
        os.setsid()
        os.chdir(folder)
        sys.path.remove(os.path.dirname(__file__))  # the modules of the tests
        IPKernelApp.launch_instance([*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])

    def poll(self):
        return self.exitcode

    def wait(self):
        self.join()
        return self.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)
