package witness

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"time"

	cosign "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/org/edamame-posture/pkg/evidence"
)

// Config of a witness. Dir, Key and one of Issuers and Services must be set.
type Config struct {
	Dir      string    // folder of the records, of this witness alone
	Key      string    // signer key of C2SP signed-note, Ed25519
	Issuers  []Issuer  // whose tokens make a log known
	Services []Service // which machines may make a log known without one
	// MaxSlots is how many logs are held in all, and MaxPerParty of one
	// repository or service. 0 means 100,000 and 10,000.
	MaxSlots    int
	MaxPerParty int
	// Log is told what an operator should know; nil for nobody.
	Log *log.Logger
}

// Bounds of what is held and done at once.
const (
	maxCosigned = 50_000    // checkpoints of one log
	maxSeq      = 1_000_000 // number of a checkpoint in its chain
	maxAtOnce   = 128       // requests
	maxReads    = 4         // of them, of records
)

// Server is a witness. It implements http.Handler.
type Server struct {
	cfg      Config
	store    *store
	cosigner note.Signer
	signer   note.Signer
	issuers  []*issuer
	services []enrolled
	mux      *http.ServeMux
	atOnce   chan struct{}
	reads    chan struct{}
}

// Open starts a witness on its folder, which it keeps for itself until Close.
func Open(cfg Config) (*Server, error) {
	if cfg.MaxSlots == 0 {
		cfg.MaxSlots = 100_000
	}
	if cfg.MaxPerParty == 0 {
		cfg.MaxPerParty = 10_000
	}
	if cfg.Log == nil {
		cfg.Log = log.New(io.Discard, "", 0)
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), atOnce: make(chan struct{}, maxAtOnce), reads: make(chan struct{}, maxReads)}
	if len(cfg.Issuers) == 0 && len(cfg.Services) == 0 {
		return nil, errors.New("witness: nobody could make a log known: name an OIDC issuer or enroll a service")
	}
	var err error
	if s.signer, err = note.NewSigner(cfg.Key); err != nil {
		return nil, fmt.Errorf("witness: its key: %w", err)
	}
	if s.cosigner, err = cosign.NewSignerForCosignatureV1(cfg.Key); err != nil {
		return nil, fmt.Errorf("witness: its key: %w", err)
	}
	for _, i := range cfg.Issuers {
		if len(i.Owners) == 0 && len(i.Repositories) == 0 {
			return nil, fmt.Errorf("witness: issuer %s: name owners or repositories, else anybody's jobs would be served", i.URL)
		}
		is := &issuer{Issuer: i, file: keyFile{path: i.JWKS, log: cfg.Log}}
		if _, err := is.file.load(); err != nil {
			return nil, fmt.Errorf("witness: keys of issuer %s: %w", i.URL, err)
		}
		s.issuers = append(s.issuers, is)
	}
	for _, e := range cfg.Services {
		v, err := note.NewVerifier(e.Key)
		if err != nil {
			return nil, fmt.Errorf("witness: key of service %.200q: %w", e.Key, err)
		}
		s.services = append(s.services, enrolled{e, v})
	}
	if s.store, err = openStore(cfg.Dir); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	s.post("/first-record", maxFirst, s.firstRecord)
	s.post("/add-checkpoint", maxRequest, s.addCheckpoint)
	s.mux.HandleFunc("GET /slot/{id}", s.slot)
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(http.StatusOK, "ok").send(w) })
	return s, nil
}

// Close gives up the folder. No request may be under way.
func (s *Server) Close() { s.store.close() }

// Name returns the name of the witness's key.
func (s *Server) Name() string { return s.signer.Name() }

// answer is what is said to a request.
type answer struct {
	code int
	kind string // Content-Type; plain text where it is empty
	body []byte
}

// ServeHTTP answers one request. Nothing is locked while the answer is sent.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case s.atOnce <- struct{}{}:
		defer func() { <-s.atOnce }()
		s.mux.ServeHTTP(w, r)
	default:
		busy.send(w)
	}
}

// post serves requests with a body of at most max bytes.
func (s *Server) post(path string, max int64, do func(r *http.Request, body []byte) answer) {
	s.mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, max))
		a := text(http.StatusBadRequest, "the request did not come whole")
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			a = text(http.StatusRequestEntityTooLarge, "more than %d bytes", max)
		}
		if err == nil {
			a = do(r, b)
		}
		a.send(w)
	})
}

func (a answer) send(w http.ResponseWriter) {
	if a.kind == "" {
		a.kind = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch a.code {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(a.code)
	// Who does not wait for the answer asks again.
	_, _ = w.Write(a.body)
}

func text(code int, format string, args ...any) answer {
	return answer{code: code, body: fmt.Appendf(nil, format+"\n", args...)}
}

var (
	busy    = text(http.StatusServiceUnavailable, "busy: ask again")
	limited = text(http.StatusTooManyRequests, "too many requests for this log: ask again")
)

// refuse answers with an error, by what it wraps.
func refuse(err error) answer {
	code := http.StatusBadRequest
	switch {
	case errors.Is(err, errToken), errors.Is(err, errEndorsement):
		code = http.StatusUnauthorized
	case errors.Is(err, errSignature), errors.Is(err, errNotAllowed):
		code = http.StatusForbidden
	case errors.Is(err, errMismatch):
		code = http.StatusUnprocessableEntity
	case errors.Is(err, errFull):
		code = http.StatusInsufficientStorage
	}
	return text(code, "%v", err)
}

// failed answers that the witness itself could not do it.
func (s *Server) failed(what string, err error) answer {
	s.cfg.Log.Printf("%s: %v", what, err)
	return text(http.StatusServiceUnavailable, "the witness could not read or write what it needs; its operator sees why")
}

// cosign makes the line of a checkpoint that is taken, with texts, those of
// the checkpoints that came with it.
func (s *Server) cosign(c *checkpoint, texts []evidence.Hash) (*cosignedLine, error) {
	signed, err := note.Sign(&note.Note{Text: string(c.unsigned())}, s.cosigner)
	if err != nil {
		return nil, err
	}
	l := &cosignedLine{
		Cosigned: Cosigned{Seq: c.seq, Size: c.size, Root: c.root, Text: c.text, Run: runOf(texts)},
		Key:      c.key, Next: c.next, Texts: texts,
	}
	l.Signature = string(signed[bytes.LastIndex(signed, []byte(signatureMark)):])
	l.Time, err = cosignedAt(l.Signature)
	return l, err
}

// cosignedAt returns the time in a cosignature's line, Unix time.
func cosignedAt(line string) (int64, error) {
	_, b64, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, signatureMark), "\n"), " ")
	t, err := cosign.CoSigV1Timestamp(note.Signature{Base64: b64})
	return t.Unix(), err
}

// who says which job a first record is of.
func (s *Server) who(r *http.Request, f *FirstRecord, c *commitment, origin string) (*job, error) {
	if f.Endorsement != "" {
		return endorsed(s.services, f.Endorsement, origin, c, f.Commitment)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || len(token) > maxToken {
		return nil, fmt.Errorf("%w: want Authorization: Bearer and a token of at most %d bytes, or an endorsement", errToken, maxToken)
	}
	var all []error
	for _, i := range s.issuers {
		j, err := i.check(token, Audience(f.Commitment), time.Now())
		if err == nil {
			return j, nil
		}
		all = append(all, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no issuer is configured here", errToken)
	}
	return nil, errors.Join(all...)
}

func (s *Server) firstRecord(r *http.Request, body []byte) answer {
	f, c, cp, err := parseFirst(body)
	if err != nil {
		return refuse(err)
	}
	j, err := s.who(r, f, c, cp.origin)
	if errors.Is(err, errKeys) {
		return s.failed("first record", err)
	}
	if err != nil {
		return refuse(err)
	}
	id := j.slot.ID()
	if c.Slot != id {
		return refuse(fmt.Errorf("%w: it is for the slot %s, and the job's is %s", errMismatch, c.Slot, id))
	}
	first := First{
		Time: time.Now().Unix(), Origin: cp.origin, Commitment: sha256.Sum256(f.Commitment),
		Service: j.service, Issued: j.issued, Claims: j.claims, Checkpoint: f.Checkpoint,
	}
	if j.service == "" {
		first.Issuer = j.slot.Issuer
	}
	e, made, err := s.store.claim(id, cp.origin, j.party(), s.cfg.MaxSlots, s.cfg.MaxPerParty)
	if err != nil {
		s.cfg.Log.Print(err)
		return refuse(err)
	}
	if !made {
		return s.again(e, id, &first, cp)
	}
	defer e.mu.Unlock()
	l, err := s.cosign(cp, []evidence.Hash{cp.text})
	if err == nil {
		err = s.store.create(e, line{First: &firstLine{id, j.party(), first}, Cosigned: l})
	}
	if err != nil {
		s.store.remove(e)
		return s.failed("first record", err)
	}
	return s.tell(e, http.StatusOK)
}

// again answers a first record for a slot, or a log, that has one: the same
// once more, as after an answer that was lost, or another.
func (s *Server) again(e *entry, id ID, first *First, cp *checkpoint) answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch err := s.store.ready(e); {
	case e.dead:
		return busy
	case !e.limiter.Allow():
		return limited
	case err != nil:
		return s.failed("first record", err)
	case e.slot != id:
		// A job that names the log of another shall not spoil it.
		return s.tell(e, http.StatusConflict)
	case e.commitment == first.Commitment && e.first == cp.text:
		return s.tell(e, http.StatusOK)
	}
	if err := s.conflict(e, Conflict{Time: first.Time, Kind: SecondFirst, First: first, Text: cp.text}); err != nil {
		return s.failed("first record", err)
	}
	return s.tell(e, http.StatusConflict)
}

// conflict keeps one, as far as there is room. The entry is locked.
func (s *Server) conflict(e *entry, c Conflict) error {
	if e.conflicts[conflictOf{c.Kind, c.Text}] {
		return nil
	}
	s.cfg.Log.Printf("slot %s: %s of %s", e.slot, c.Kind, e.origin)
	kept := 0
	for k := range e.conflicts {
		if k.kind == c.Kind {
			kept++
		}
	}
	if kept >= maxConflicts {
		return nil
	}
	return s.store.append(e, line{Conflict: &c})
}

// tell answers with all that is held of a slot. The entry is locked.
func (s *Server) tell(e *entry, code int) answer {
	r, err := s.store.record(e)
	if err != nil {
		return s.failed("record", err)
	}
	r.Witness, r.Asked = s.signer.Name(), time.Now().Unix()
	signed, err := r.sign(s.signer)
	if err != nil {
		return s.failed("record", err)
	}
	return answer{code: code, body: signed}
}

func (s *Server) slot(w http.ResponseWriter, r *http.Request) {
	select {
	case s.reads <- struct{}{}:
		defer func() { <-s.reads }()
		s.readSlot(r.PathValue("id")).send(w)
	default:
		busy.send(w)
	}
}

func (s *Server) readSlot(name string) answer {
	var id ID
	if err := id.UnmarshalText([]byte(name)); err != nil {
		return refuse(err)
	}
	none := text(http.StatusNotFound, "no first record of this slot is here")
	e := s.store.bySlot(id)
	if e == nil {
		return none
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch err := s.store.ready(e); {
	case e.dead:
		return none
	case err != nil:
		return s.failed("record", err)
	}
	return s.tell(e, http.StatusOK)
}

func (s *Server) addCheckpoint(_ *http.Request, body []byte) answer {
	req, err := parseRequest(body)
	if err != nil {
		return refuse(err)
	}
	origin, _, _ := strings.Cut(string(req.notes[0]), "\n")
	none := text(http.StatusNotFound, "no first record of %.160q is here", origin)
	e := s.store.byOrigin(origin)
	if e == nil {
		return none
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch err := s.store.ready(e); {
	case e.dead:
		return none
	case !e.limiter.Allow():
		return limited
	case err != nil:
		return s.failed("add-checkpoint", err)
	}
	return s.add(e, req)
}

// add answers an add-checkpoint of a log. The entry is locked.
func (s *Server) add(e *entry, req *request) answer {
	known := answer{http.StatusConflict, "text/x.tlog.size", fmt.Appendln(nil, e.last.Size)}
	var (
		past  []cosignedLine // that cover what is sent once more
		last  *checkpoint    // of those that were looked at
		texts []evidence.Hash
	)
	seq, next, size := e.last.Seq, e.last.Next, e.last.Size
	for n, raw := range req.notes {
		c, err := parseCheckpoint(raw)
		if err == nil && c.origin != e.origin {
			err = fmt.Errorf("it is of another log, %s", c.origin)
		}
		if err == nil && last != nil && c.seq != last.seq+1 {
			err = fmt.Errorf("%w that is due: number %d of the chain of keys stands after %d", errSignature, c.seq, last.seq)
		}
		if err != nil {
			return refuse(fmt.Errorf("checkpoint %d of the request: %w", n+1, err))
		}
		if c.seq <= e.last.Seq {
			if past == nil {
				if past, err = s.store.since(e, c.seq, len(req.notes)); err != nil {
					return s.failed("add-checkpoint", err)
				}
			}
			switch seen(past, c, last) {
			case unknown:
				return refuse(fmt.Errorf("checkpoint %d of the request: %w of number %d of its chain", n+1, errSignature, c.seq))
			case other:
				if err := s.conflict(e, conflictIn(Fork, c)); err != nil {
					return s.failed("add-checkpoint", err)
				}
				return known
			}
			last = c
			continue
		}
		switch {
		case next == evidence.Hash{}:
			err = fmt.Errorf("%w: number %d of the chain of keys is the last one", errSignature, seq)
		case c.seq != seq+1:
			err = fmt.Errorf("%w that is due: it is number %d of the chain of keys, and %d is due", errSignature, c.seq, seq+1)
		case c.key != next:
			err = fmt.Errorf("%w that is due: number %d names another one", errSignature, seq)
		case c.size < size:
			return s.inconsistent(e, c, refuse(fmt.Errorf("size falls from %d to %d", size, c.size)))
		}
		if err != nil {
			return refuse(fmt.Errorf("checkpoint %d of the request: %w", n+1, err))
		}
		last, texts = c, append(texts, c.text)
		seq, next, size = c.seq, c.next, c.size
	}
	switch {
	case req.old > last.size:
		return refuse(fmt.Errorf("old is %d, more than the size of the checkpoint, %d", req.old, last.size))
	case req.old != e.last.Size:
		return known
	case last.text == e.last.Text:
		// The answer of then, with its time: who has the note needs no key to
		// send it again, and would make a log look alive that has stopped.
		return answer{code: http.StatusOK, body: []byte(e.last.Signature)}
	case len(texts) == 0:
		return known
	case last.size == e.last.Size && last.root != e.last.Root:
		return s.inconsistent(e, last, known)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, e.last.Size, last.size, req.proof, e.last.Root[:], last.root[:]); err != nil {
		return s.inconsistent(e, last, text(http.StatusUnprocessableEntity,
			"the proof that the checkpoint of size %d grew out of that of size %d does not hold: %v", last.size, e.last.Size, err))
	}
	if last.seq > maxSeq {
		return refuse(fmt.Errorf("%w: checkpoint %d of a log; %d are held", errFull, last.seq, maxSeq))
	}
	if e.cosigned >= maxCosigned {
		return refuse(fmt.Errorf("%w: %d checkpoints of this log were cosigned; one in 10 s is enough", errFull, maxCosigned))
	}
	l, err := s.cosign(last, texts)
	if err == nil {
		err = s.store.append(e, line{Cosigned: l})
	}
	if err != nil {
		return s.failed("add-checkpoint", err)
	}
	return answer{code: http.StatusOK, body: []byte(l.Signature)}
}

// inconsistent keeps a checkpoint by the key that is due, whose tree is not the
// known one grown, and answers with a.
func (s *Server) inconsistent(e *entry, c *checkpoint, a answer) answer {
	if err := s.conflict(e, conflictIn(Inconsistent, c)); err != nil {
		return s.failed("add-checkpoint", err)
	}
	return a
}

func conflictIn(kind string, c *checkpoint) Conflict {
	return Conflict{Time: time.Now().Unix(), Kind: kind, Checkpoint: string(c.raw), Text: c.text}
}

// What a checkpoint is to those that are known.
const (
	unknown = iota // its key is not known
	same           // it is known itself
	other          // its key signed another one, which is known
)

// seen looks c up among past. before is the checkpoint that stood before it in
// the request, which is known, or nil.
func seen(past []cosignedLine, c, before *checkpoint) int {
	for i, l := range past {
		first := l.Seq + 1 - uint64(len(l.Texts))
		switch {
		case c.seq < first || c.seq > l.Seq:
			continue
		case c.text == l.Texts[c.seq-first]:
			return same
		case c.seq == l.Seq && c.key == l.Key,
			i > 0 && c.seq == first && c.key == past[i-1].Next,
			before != nil && c.key == before.next:
			return other
		}
	}
	return unknown
}
