"""Every op with every instruction set that this CPU has; the other tests run with the best one."""

from pathlib import Path

import pytest
from support.op_tests import instruction_sets, run_with_instruction_set


@pytest.mark.parametrize("isa", instruction_sets()[:-1])
def test_values_and_gradients(isa):
    run_with_instruction_set(isa, str(Path(__file__).parent), "-k", "match_the_reference and cpu and float32")
