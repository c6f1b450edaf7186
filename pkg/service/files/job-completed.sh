#!/bin/bash
# ACTIONS_RUNNER_HOOK_JOB_COMPLETED: says what was found so far.
exec @PROGRAM@ service hook completed
