package witness

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Service is a machine of one's own that makes its logs known with a key that
// was enrolled here. The key must be out of reach of its jobs.
type Service struct {
	Key string // verifier key of C2SP signed-note; its name is the service's
	// Prefixes are what the names of its runs begin with: the part of the
	// origin after edamame-posture/.
	Prefixes []string
}

// ParseServices reads a list of enrolled services: lines of a verifier key and
// one or more prefixes of runs, with empty lines and comments after #.
func ParseServices(b []byte) ([]Service, error) {
	var services []Service
	sc := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("line %d: want a verifier key and the prefixes of the service's runs", n)
		}
		if _, err := note.NewVerifier(fields[0]); err != nil {
			return nil, fmt.Errorf("line %d: %.200q is no verifier key: %w", n, fields[0], err)
		}
		services = append(services, Service{fields[0], fields[1:]})
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	return services, nil
}

const endorsementHeader = "edamame-posture/first-record/v1\n"

// endorsementText is what an enrolled service signs for a first record.
func endorsementText(origin string, commitment []byte) string {
	sum := sha256.Sum256(commitment)
	return endorsementHeader + origin + "\n" + hex.EncodeToString(sum[:]) + "\n"
}

// Endorse makes the note with which an enrolled service vouches for a
// commitment. key is a signer key of C2SP signed-note.
func Endorse(key, origin string, commitment []byte) (string, error) {
	s, err := note.NewSigner(key)
	if err != nil {
		return "", fmt.Errorf("the service's key: %w", err)
	}
	b, err := note.Sign(&note.Note{Text: endorsementText(origin, commitment)}, s)
	return string(b), err
}

// enrolled is a Service with its key read.
type enrolled struct {
	Service
	verifier note.Verifier
}

// errEndorsement is what an endorsement that is not taken wraps.
var errEndorsement = errors.New("the endorsement is not taken")

// endorsed says which service vouches for a commitment, and for which job.
func endorsed(services []enrolled, signed, origin string, c *commitment, body []byte) (*job, error) {
	verifiers := make([]note.Verifier, len(services))
	for i, s := range services {
		verifiers[i] = s.verifier
	}
	n, err := note.Open([]byte(signed), note.VerifierList(verifiers...))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEndorsement, err)
	}
	if len(n.Sigs) != 1 {
		return nil, fmt.Errorf("%w: %d services signed it, want one", errEndorsement, len(n.Sigs))
	}
	if n.Text != endorsementText(origin, body) {
		return nil, fmt.Errorf("%w: it is for another log or commitment", errEndorsement)
	}
	for _, s := range services {
		if s.verifier.Name() != n.Sigs[0].Name || s.verifier.KeyHash() != n.Sigs[0].Hash {
			continue
		}
		for _, p := range s.Prefixes {
			if !strings.HasPrefix(origin, originPrefix+p) {
				continue
			}
			j := &job{claims: map[string]string{}, service: s.verifier.Name()}
			for _, name := range slotClaims {
				j.claims[name] = c.Claims[name]
			}
			if j.slot, err = slotOf(ServiceIssuer(j.service), j.claims); err != nil {
				return nil, fmt.Errorf("%w: the commitment's %w", errEndorsement, err)
			}
			return j, nil
		}
	}
	return nil, fmt.Errorf("%w: origin %s begins with no prefix of the service %s", errNotAllowed, origin, n.Sigs[0].Name)
}
