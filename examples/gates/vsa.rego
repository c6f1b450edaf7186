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

deny contains "not a verification summary" if {
	input.predicateType != "https://slsa.dev/verification_summary/v1"
}

deny contains "no verification summary" if {
	not input.predicateType
}

deny contains "the gate did not let it pass" if {
	not input.predicate.verificationResult == "PASSED"
}

deny contains "another verifier" if {
	not input.predicate.verifier.id == "https://github.com/org/edamame-posture/gate"
}

deny contains "not checked up to E2" if {
	not "EDAMAME_POSTURE_E2" in input.predicate.verifiedLevels
}
