package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

func TestEncryptedKeysSignWithTheirPassword(t *testing.T) {
	private, public, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := LoadPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(plain, private, 0o600); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(private)
	sealed, err := encrypted.Encrypt(block.Bytes, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string][]byte{
		"cosign's":     pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: sealed}),
		"cosign's old": pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED COSIGN PRIVATE KEY", Bytes: sealed}),
	}
	if _, err := exec.LookPath("openssl"); err == nil {
		for name, args := range map[string][]string{"PBKDF2": {"-v2", "aes-256-cbc"}, "scrypt": {"-scrypt"}} {
			out, err := exec.Command("openssl", append([]string{"pkcs8", "-topk8", "-in", plain, "-passout", "pass:correct horse"}, args...)...).Output()
			if err != nil {
				t.Fatalf("openssl: %v", err)
			}
			kinds["openssl's with "+name] = out
		}
	}
	for name, data := range kinds {
		t.Run(name, func(t *testing.T) {
			if _, err := LoadKey(data, nil); !errors.Is(err, ErrEncrypted) {
				t.Errorf("without a password: %v", err)
			}
			for _, wrong := range []string{"", "correct hors"} {
				if _, err := LoadKey(data, []byte(wrong)); err == nil || !strings.Contains(err.Error(), "password is wrong") {
					t.Errorf("with the password %q: %v", wrong, err)
				}
			}
			key, err := LoadKey(data, []byte("correct horse"))
			if err != nil {
				t.Fatal(err)
			}
			s, manifest := statement(t)
			b, err := Sign(t.Context(), s, &Key{Signer: key})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Verify(b, pub, manifest); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMain is the plug-in sigstore-kms-rig too, when it is started as one: it
// keeps its key in the file that the reference names.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "sigstore-kms-rig" {
		plugin()
		return
	}
	os.Exit(m.Run())
}

// plugin answers one question of Sigstore's protocol for external keys.
func plugin() {
	var args struct {
		InitOptions struct {
			KeyResourceID string `json:"keyResourceID"`
		} `json:"initOptions"`
		MethodName  string `json:"methodName"`
		SignMessage struct {
			SignOptions struct {
				MessageOptions struct {
					Digest *[]byte `json:"digest"`
				} `json:"messageOptions"`
			} `json:"signOptions"`
		} `json:"signMessage"`
	}
	reply := func(v any) { _ = json.NewEncoder(os.Stdout).Encode(v) }
	if err := json.Unmarshal([]byte(os.Args[2]), &args); err != nil {
		reply(map[string]any{"errorMessage": err.Error()})
		return
	}
	file := strings.TrimPrefix(args.InitOptions.KeyResourceID, "rig://")
	switch file {
	case "hangs":
		_, _ = io.Copy(io.Discard, os.Stdin)
		time.Sleep(time.Hour)
	case "refuses":
		reply(map[string]any{"errorMessage": "the key is disabled"})
		return
	case "other":
		reply(map[string]any{"supportedAlgorithms": map[string]any{}})
		return
	case "garbage":
		fmt.Print("hello")
		return
	}
	data, err := os.ReadFile(file)
	if err != nil {
		reply(map[string]any{"errorMessage": err.Error()})
		return
	}
	block, _ := pem.Decode(data)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		reply(map[string]any{"errorMessage": err.Error()})
		return
	}
	key := parsed.(*ecdsa.PrivateKey)
	switch args.MethodName {
	case "publicKey":
		der, _ := x509.MarshalPKIXPublicKey(key.Public())
		reply(map[string]any{"publicKey": map[string]any{"publicKeyPEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}})
	case "signMessage":
		sig, err := key.Sign(rand.Reader, *args.SignMessage.SignOptions.MessageOptions.Digest, crypto.SHA256)
		if err != nil {
			reply(map[string]any{"errorMessage": err.Error()})
			return
		}
		reply(map[string]any{"signMessage": map[string]any{"signature": sig}})
	default:
		reply(map[string]any{"errorMessage": "no method " + args.MethodName})
	}
}

func TestAKeyThatAPluginKeepsSigns(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "sigstore-kms-rig")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	private, public, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(file, private, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := LoadKMS(within(t, time.Minute), "rig://"+file)
	if err != nil {
		t.Fatal(err)
	}
	s, manifest := statement(t)
	b, err := Sign(t.Context(), s, &Key{Signer: key})
	if err != nil {
		t.Fatal(err)
	}
	pub, err := LoadPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(b, pub, manifest); err != nil {
		t.Error(err)
	}

	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large.pem")
	if err := os.WriteFile(large, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	for ref, says := range map[string]string{
		"rig://refuses":   "the key is disabled",
		"rig://other":     "lacks what it was asked for",
		"rig://garbage":   "rig://garbage",
		"rig://" + large:  "want a key of ECDSA on P-256",
		"nosuchkms://key": "there is no program sigstore-kms-nosuchkms in PATH",
	} {
		if _, err := LoadKMS(within(t, time.Minute), ref); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error that says %q", ref, err, says)
		}
	}
	if _, err := LoadKMS(within(t, 300*time.Millisecond), "rig://hangs"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a plug-in that hangs: %v", err)
	}
	for name, is := range map[string]bool{"awskms:///alias/x": true, "rig://x": true, "release.key": false, "./a://b": false, "/key": false, "://x": false} {
		if IsKMS(name) != is {
			t.Errorf("%q: %v", name, !is)
		}
	}
}

func TestTheEmbeddedInstancesAreWhole(t *testing.T) {
	public := PublicServices()
	if public.Fulcio != "https://fulcio.sigstore.dev" || !slices.Equal(public.Logs, []Log{{"https://rekor.sigstore.dev", 1}}) || public.Timestamps != nil {
		t.Errorf("public: %+v", public)
	}
	private := GitHubServices()
	if private.Fulcio != "https://fulcio.githubapp.com" || private.Logs != nil || !slices.Equal(private.Timestamps, []string{"https://timestamp.githubapp.com/api/v1/timestamp"}) {
		t.Errorf("GitHub's: %+v", private)
	}
	r := PublicRoot()
	if len(r.RekorLogs()) == 0 || len(r.CTLogs()) == 0 || len(r.FulcioCertificateAuthorities()) == 0 {
		t.Error("the public root lacks something")
	}
	for visibility, want := range map[string]string{"public": public.Fulcio, "private": private.Fulcio, "internal": private.Fulcio, "": "", "Public": ""} {
		s, err := (&Claims{Issuer: "https://example.com", Visibility: visibility}).ServicesFor()
		if want == "" && err == nil || want != "" && (err != nil || s.Fulcio != want) {
			t.Errorf("a repository that is %q: %v, %v", visibility, s, err)
		}
	}
}

func TestASigningConfigurationMustGiveATime(t *testing.T) {
	service := func(kind, url string, version int) string {
		return fmt.Sprintf(`%q:[{"url":%q,"majorApiVersion":%d,"validFor":{"start":"2020-01-01T00:00:00Z"},"operator":"x"}]`, kind, url, version)
	}
	ca := service("caUrls", "https://ca.example.com/", 1)
	tsa := service("tsaUrls", "https://tsa.example.com/ts", 1) + `,"tsaConfig":{"selector":"ANY"}`
	log := func(v int) string {
		return service("rekorTlogUrls", "https://log.example.com", v) + `,"rekorTlogConfig":{"selector":"ALL"}`
	}
	for name, c := range map[string]struct{ parts, says string }{
		"authority":                 {ca + "," + tsa, ""},
		"Rekor v1 gives one":        {ca + "," + log(1), ""},
		"Rekor v2 gives none":       {ca + "," + log(2), "Rekor v2 gives no time"},
		"both":                      {ca + "," + tsa + "," + log(2), ""},
		"nothing":                   {ca, "neither a timestamp authority nor"},
		"a version of the future":   {ca + "," + log(9), "transparency logs"},
		"no http":                   {ca + "," + service("tsaUrls", "file:///etc/passwd", 1) + `,"tsaConfig":{"selector":"ANY"}`, "is not an http URL"},
		"an authority of next year": {strings.Replace(ca, "2020", "2999", 1) + "," + tsa, "certificate authority"},
	} {
		s, err := LoadServices([]byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json",`+c.parts+`}`), time.Now())
		if c.says == "" && (err != nil || s.Fulcio != "https://ca.example.com") || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

func TestNoRootIsFetchedUnasked(t *testing.T) {
	if _, err := CachedRoot(t.TempDir(), "", nil, false); !errors.Is(err, ErrOffline) {
		t.Errorf("without a copy: %v", err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "tuf-repo-cdn.sigstore.dev"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := CachedRoot(dir, "", nil, false); !errors.Is(err, ErrOffline) {
		t.Errorf("with an empty copy: %v", err)
	}
	for name, data := range map[string]string{"empty": "", "no root": "{}", "without authority": `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`, "huge": strings.Repeat(" ", maxRoot+1)} {
		if _, err := LoadTrustedRoot([]byte(data)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
