# OPA or conftest: what a verification summary must say. Rego checks no
# signature: verify the bundle first, as the gate's workflow, and give this the
# statement that was signed:
#
#   cosign verify-blob-attestation --bundle vsa.sigstore.json \
#     --certificate-identity https://github.com/octo/gates/.github/workflows/gate.yml@refs/heads/main \
#     --certificate-oidc-issuer https://token.actions.githubusercontent.com \
#     --type https://slsa.dev/verification_summary/v1 dist/app.tgz
#   jq -r .dsseEnvelope.payload vsa.sigstore.json | base64 -d | conftest test --policy vsa.rego -
package main

import rego.v1

# Each is a rule of its own, so that what is not there is false, and not
# undefined.
summary if input.predicateType == "https://slsa.dev/verification_summary/v1"

passed if input.predicate.verificationResult == "PASSED"

ours if input.predicate.verifier.id == "https://github.com/org/edamame-posture/gate"

checked if "EDAMAME_POSTURE_E2" in input.predicate.verifiedLevels

deny contains "not a verification summary" if not summary

deny contains "the gate did not let it pass" if not passed

deny contains "another verifier" if not ours

deny contains "not checked up to E2" if not checked
