#!/bin/bash
# ACTIONS_RUNNER_HOOK_JOB_STARTED: waits until this job is recorded, and says so.
exec @PROGRAM@ service hook started
