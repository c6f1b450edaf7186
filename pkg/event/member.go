package event

// member numbers the members of a line in the order in which they are written.
type member uint8

const (
	mSeq member = iota
	mTime
	mKind
	mActor
	mVia
	mParent
	mExe
	mFilename
	mInterp
	mArgv
	mArgvBytes
	mArgvCut
	mCwd
	mEnv
	mUID
	mGID
	mCgroup
	mContainer
	mNS
	mImage
	mSession
	mCode
	mSignal
	mTarget
	mOp
	mProto
	mSrc
	mDst
	mSock
	mSent
	mReceived
	mCount
	mErr
	mOK
	mName
	mQType
	mRCode
	mAnswers
	mMethod
	mPath
	mNewPath
	mFile
	mAccess
	mMode
	mClass
	mVersion
	mBoot
	mWall
	mStep
	mHost
	mJob
	mTool
	mSensor
	mDetail
	mFrom
	mTo
	mLost
	mCounts
	mSurvivors
	mSecrets
	mContainerImage
	mCTime
	mSHA256
	mSize
	mStepAction
	mStepID
	mStepName
	mTLS
	mToolAgent
	mToolCall
	mToolSession
	mToolText

	memberCount
)

var memberNames = [memberCount]string{
	"seq", "time", "kind", "actor", "via",
	"parent", "exe", "filename", "interp", "argv", "argv_bytes", "argv_cut", "cwd", "env", "uid", "gid",
	"cgroup", "container", "ns", "image", "session", "code", "signal", "target", "op",
	"proto", "src", "dst", "sock", "sent", "received", "count", "err", "ok",
	"name", "qtype", "rcode", "answers", "method",
	"path", "new_path", "file", "access", "mode", "class",
	"version", "boot", "wall", "step", "host", "job", "tool", "sensor", "detail", "from", "to", "lost",
	"counts", "survivors", "secrets",
	// In the order of unknown members, which these are to an earlier reader.
	"container_image", "ctime", "sha256", "size", "step_action", "step_id", "step_name", "tls", "tool_agent", "tool_call", "tool_session", "tool_text",
}

var memberByName = func() map[string]member {
	m := make(map[string]member, memberCount)
	for i, name := range memberNames {
		m[name] = member(i)
	}
	return m
}()

// Members of the objects inside a line, in their order.
var (
	actorMembers    = []string{"pid", "start", "image"}
	varMembers      = []string{"name", "value"}
	nsMembers       = []string{"mnt", "net", "pid", "user"}
	fileMembers     = []string{"dev", "inode"}
	answerMembers   = []string{"name", "type", "addr", "target", "ttl"}
	countMembers    = []string{"what", "ebpf", "netlink"}
	survivorMembers = []string{"actor", "exe"}
	secretMembers   = []string{"field", "index", "pattern", "length", "layers", "hash"}
)
