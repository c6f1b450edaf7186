package sigstore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
)

// certificateLog promises to log each certificate and forgets it (RFC 6962
// section 4.2): clients check the promise, a signed certificate timestamp.
type certificateLog struct {
	URL    string
	key    *ecdsa.PrivateKey
	id     [sha256.Size]byte
	server *httptest.Server
}

func newCertificateLog() (*certificateLog, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	l := &certificateLog{key: key, id: sha256.Sum256(der)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /log/ct/v1/add-pre-chain", func(w http.ResponseWriter, r *http.Request) {
		var req ct.AddChainRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sct, err := l.promise(req.Chain)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reply(w, sct)
	})
	l.server = httptest.NewServer(mux)
	l.URL = l.server.URL + "/log"
	return l, nil
}

func (l *certificateLog) close() { l.server.Close() }

func (l *certificateLog) promise(chain [][]byte) (*ct.AddChainResponse, error) {
	raw := make([]ct.ASN1Cert, len(chain))
	for i, c := range chain {
		raw[i].Data = c
	}
	at := uint64(time.Now().UnixMilli())
	leaf, err := ct.MerkleTreeLeafFromRawChain(raw, ct.PrecertLogEntryType, at)
	if err != nil {
		return nil, err
	}
	data, err := ct.SerializeSCTSignatureInput(ct.SignedCertificateTimestamp{SCTVersion: ct.V1, Timestamp: at}, ct.LogEntry{Leaf: *leaf})
	if err != nil {
		return nil, err
	}
	signed, err := tls.CreateSignature(*l.key, tls.SHA256, data)
	if err != nil {
		return nil, err
	}
	sig, err := tls.Marshal(signed)
	if err != nil {
		return nil, err
	}
	return &ct.AddChainResponse{SCTVersion: ct.V1, ID: l.id[:], Timestamp: at, Signature: sig}, nil
}
