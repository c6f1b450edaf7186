// Verifies a bundle as programs that use the npm package @sigstore/verify do:
//   node verify.mjs NODE_MODULES TRUSTED_ROOT BUNDLE SAN ISSUER LOG_ENTRIES
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const [modules, rootFile, bundleFile, san, issuer, entries] = process.argv.slice(2);
const require = createRequire(modules + '/');
const { bundleFromJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const json = (file) => JSON.parse(readFileSync(file, 'utf8'));
const trust = toTrustMaterial(TrustedRoot.fromJSON(json(rootFile)));
const verifier = new Verifier(trust, { tlogThreshold: Number(entries), ctlogThreshold: 1, timestampThreshold: 1 });
verifier.verify(toSignedEntity(bundleFromJSON(json(bundleFile))), {
  subjectAlternativeName: san,
  extensions: { issuer },
});
console.log('verified');
