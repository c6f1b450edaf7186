package posture

import "github.com/org/edamame-posture/pkg/redact"

// check is what is said of a thing that was found, whatever it is in detail.
type check struct {
	title, why, do string
	// controls are those that a published text of the catalogue was read for:
	// CIS Ubuntu Linux 24.04 Benchmark 1.0.0 (as ComplianceAsCode has it), CIS
	// Software Supply Chain Security Guide 1.0, SLSA 1.0 requirements, AICPA Trust
	// Services Criteria 2017 (SOC 2), ISO/IEC 27001:2022 Annex A.
	controls []string
}

const (
	isoPrivilege = "ISO 27001 A.8.2"
	isoConfig    = "ISO 27001 A.8.9"
	isoSecret    = "ISO 27001 A.5.17"
	isoSupply    = "ISO 27001 A.5.21"
	socAccess    = "SOC 2 CC6.1"
	socRights    = "SOC 2 CC6.3"
	socMalware   = "SOC 2 CC6.8"
	socConfig    = "SOC 2 CC7.1"
	socChange    = "SOC 2 CC8.1"
	slsaIsolated = "SLSA 1.0 Build L3 (isolated)"
	cisSingleUse = "CIS Supply Chain 2.2.1"
	cisSecrets   = "CIS Supply Chain 2.1.7"
	cisRuntime   = "CIS Supply Chain 2.2.5"
	cisLocked    = "CIS Supply Chain 2.4.2"
	cisTrusted   = "CIS Supply Chain 3.1.5"
)

// checks are all that are made, by the word that stands in an item.
var checks = map[string]check{
	"runs-as-root": {"Jobs run as root", "Whatever runs in a job owns the machine, and can change what the next job runs.",
		"Run jobs as a user of their own, without sudo.", []string{isoPrivilege, socRights, slsaIsolated}},
	"sudo-nopasswd": {"Commands run as root without a password", "Any code of a job, a package's install script too, is root by one word, and no record of the machine holds against root.",
		"Take the NOPASSWD line out, or name the few commands that a job needs, with their arguments.", []string{"CIS Ubuntu 24.04 5.2.4", isoPrivilege, socRights}},
	"sudo-no-authentication": {"sudo asks nobody for a password", "Defaults !authenticate makes every rule one without a password.",
		"Take !authenticate out of the Defaults.", []string{isoPrivilege, socRights}},
	"root-file-writable": {"A file that root trusts can be written by the user of jobs", "Who writes it is root with the next use of it.",
		"Give it to root, mode 0644 or less.", []string{isoConfig, socRights}},
	"docker-group": {"The user of jobs is in a group that rules containers", "Who may start a container may mount the machine's disk into it, which is as good as root.",
		"Take the user out of the group; use rootless containers.", []string{isoPrivilege, socRights}},
	"docker-socket": {"The socket of a container daemon is open to jobs", "Who may start a container may mount the machine's disk into it, which is as good as root.",
		"Take the right to write from the user of jobs; use rootless containers, or a machine for each job.", []string{isoPrivilege, socRights, slsaIsolated}},
	"preload": {"A library is loaded into every program", "It sees and changes what every program does, sudo too.",
		"Find out which package put it there; where none did, take it out and set up the machine anew.", []string{isoConfig, socMalware}},
	"hosts-override": {"A public name leads to an address of the machine's own choice", "What is asked of that name goes where the file says, which no look at DNS shows.",
		"Take the line out of /etc/hosts, or say in a comment why it is there.", []string{isoConfig, socConfig}},
	"resolver": {"A resolver cannot be read", "Programs leave out what they cannot read, so another resolver answers than is meant.",
		"Mend the line.", []string{isoConfig}},
	"local-ca": {"A certificate authority of one's own is trusted", "Who holds its key can read and change what is sent over TLS, downloads of packages too.",
		"Keep it only where it is yours; take it out by update-ca-certificates otherwise.", []string{isoConfig, socConfig}},
	"user-cron": {"A user's programs are started by cron or at", "They run outside of every job, with all that the user of jobs may do, and no job's record shows them.",
		"Look at what is started. Where you did not set it up, an earlier job did: set up the machine anew.", []string{isoConfig, socMalware, slsaIsolated}},
	"user-unit": {"The user of jobs has services of systemd", "They run outside of every job, and the next job runs beside them.",
		"Look at what is started. Where you did not set it up, an earlier job did: set up the machine anew.", []string{isoConfig, socMalware, slsaIsolated}},
	"linger": {"Services of the user of jobs run without a log-in", "What a job leaves as a user's service starts at boot.",
		"loginctl disable-linger for the user of jobs.", []string{isoConfig, slsaIsolated}},
	"shell-injects": {"A shell's start file changes what programs load or run", "Each step's shell, or each program, runs code that no workflow names.",
		"Take the variable out of the file; set it in the step that needs it.", []string{isoConfig, socMalware}},
	"authorized-keys": {"A key opens a log-in as the user of jobs", "Who holds it is there while jobs run, and can read their secrets.",
		"Take out keys that you cannot name an owner of; let administrators log in as another user.", []string{isoSecret, socAccess}},
	"root-authorized-keys": {"A key opens a log-in as root", "Who holds it owns the machine.",
		"Take out keys that you cannot name an owner of.", []string{isoPrivilege, socAccess}},
	"ssh-private-key": {"A private key without a password lies in the user's home", "Every job can copy it, and use it from anywhere.",
		"Take it away; give the jobs that need it a deploy key of their own as a secret.", []string{isoSecret, cisSecrets, socAccess}},
	"git-credential": {"Git keeps a credential in a file", "Every job, and every program in it, can read it; checkout leaves one for all later steps.",
		"Set persist-credentials: false at actions/checkout; take the credential away otherwise.", []string{isoSecret, cisSecrets, socAccess}},
	"git-runs": {"Git's settings run a program", "It runs at ordinary commands of git, in every job.",
		"Take the setting out where you did not make it.", []string{isoConfig, socMalware}},
	"git-redirect": {"Git's settings send requests elsewhere", "What a job fetches or pushes goes to another place than its commands say.",
		"Take the setting out where you did not make it.", []string{isoConfig, cisTrusted}},
	"git-insecure": {"Git's settings switch off a check", "A server's certificate, or whose folder it works in, is not checked any more.",
		"Take the setting out.", []string{isoConfig, socConfig}},
	"git-hook": {"A hook runs at git's commands", "A hook that an earlier job left runs in the next one.",
		"Delete hooks that you did not put there; check out into a new folder.", []string{isoConfig, socMalware, slsaIsolated}},
	"npm-token": {"A token of a package registry stands in a file", "Every package's install script can read it, and publish with it.",
		"Write ${NPM_TOKEN} instead and set the variable in the publishing step only; better, publish with the job's identity.", []string{isoSecret, cisSecrets, socAccess}},
	"registry": {"Packages come from another registry", "Who runs it chooses the code that is installed.",
		"Keep it where it is yours; give private packages a scope of their own.", []string{isoSupply, cisTrusted}},
	"npm-runs": {"npm's settings choose a program to run", "It runs at each install, in every job.",
		"Take the setting out where you did not make it.", []string{isoConfig, socMalware}},
	"tls-off": {"A package manager does not check certificates", "Anybody on the way can exchange the packages.",
		"Take the setting out; trust your own authority by its certificate.", []string{isoConfig, cisTrusted}},
	"extra-index": {"pip looks in several places for one name", "Whoever registers the name in the public one first gives the code.",
		"Use one index that holds both, or pin with hashes.", []string{isoSupply, cisTrusted}},
	"url-credential": {"A password stands in an address in a file", "Every job can read it.",
		"Take it out; give it to the step that needs it as a secret.", []string{isoSecret, cisSecrets}},
	"path-writable": {"A folder of PATH can be written by the user of jobs", "A program put there runs in place of the real one, in later jobs and for root too where root has the folder.",
		"Give the folder to root, or put it behind the system's.", []string{"CIS Ubuntu 24.04 5.4.2.5", isoConfig}},
	"path-relative": {"PATH has a folder without a fixed place", "A program in the checkout runs in place of the real one.",
		"Name folders with their whole path.", []string{"CIS Ubuntu 24.04 5.4.2.5", isoConfig}},
	"runner-kept": {"The runner keeps its machine after a job", "What one job leaves, the next one meets: caches, tools, processes, settings.",
		"Register it with --ephemeral, on a machine that is made anew for each job.", []string{cisSingleUse, slsaIsolated}},
	"runner-shared": {"Checkouts of several repositories lie on one runner", "A job of one can read and change what the other's next job uses.",
		"Give each trust its own runners, by runner groups.", []string{"CIS Supply Chain 2.2.3", cisSingleUse, slsaIsolated}},
	"runner-credentials": {"Jobs can read the runner's own credentials", "Who has them can pose as this runner and take jobs, with their secrets.",
		"Make the runner ephemeral, so that they are of no use after the job; run each job in a machine of its own.", []string{isoSecret, cisSecrets, slsaIsolated}},
	"runner-settings": {"Jobs can write what the runner starts from", "The next job's hooks, variables and programs are this job's choice.",
		"Give the folder of the runner to another user than that of jobs, or make the runner ephemeral.", []string{isoConfig, slsaIsolated}},
	"runner-hook": {"The runner runs a hook before or after each job", "Who can write the script runs in every job.",
		"Keep the script root's.", []string{isoConfig}},
	"runner-version": {"Version of the runner", "GitHub gives jobs to recent ones only.", "Keep it up to date.", nil},
	"unpinned-action": {"Actions are named by a tag or branch", "Who can move the tag chooses what runs here, as in the attack on tj-actions/changed-files.",
		"Name each by its commit, 40 digits, with the version in a comment.", []string{cisLocked, "CIS Supply Chain 3.1.7", isoSupply}},
	"token-permissions": {"The job's token may do more than read", "Code in the job can change the repository, or act in its name.",
		"Set permissions: {} or contents: read for the workflow, and what more is needed for the one job.", []string{socRights, cisSecrets}},
	"core-pattern": {"A crash runs a program as root", "Who may write it is root at the next crash; who sets it leaves any container.",
		"Find out which package set it; kernel.core_pattern=core otherwise.", []string{isoConfig, cisRuntime}},
	"kernel": {"A protection of the kernel is off", "It keeps one process of a job from another, or from the kernel.",
		"Set it by sysctl, and in /etc/sysctl.d for the next boot.", []string{isoConfig, cisRuntime}},
	"ptrace": {"Every process may read the memory of the user's others", "The runner's worker holds all secrets of the job in its memory; attacks on actions read them there.",
		"sysctl kernel.yama.ptrace_scope=1, and in /etc/sysctl.d for the next boot.", []string{"CIS Ubuntu 24.04 1.5.2", isoConfig, cisRuntime}},
	"aslr": {"Addresses of programs are not random", "Flaws in programs are easier to use.",
		"sysctl kernel.randomize_va_space=2, and in /etc/sysctl.d for the next boot.", []string{"CIS Ubuntu 24.04 1.5.1", isoConfig}},
	"suid-dump": {"Programs that were given power leave their memory in files", "Secrets of root can be read from them.",
		"sysctl fs.suid_dumpable=0, and in /etc/sysctl.d for the next boot.", []string{"CIS Ubuntu 24.04 1.5.3", isoConfig}},
}

// checkTexts are the words of all checks, for events.
var checkTexts = []redact.Text{
	redact.Const("runs-as-root"), redact.Const("sudo-nopasswd"), redact.Const("sudo-no-authentication"),
	redact.Const("root-file-writable"), redact.Const("docker-group"), redact.Const("docker-socket"), redact.Const("preload"),
	redact.Const("hosts-override"), redact.Const("resolver"), redact.Const("local-ca"), redact.Const("user-cron"),
	redact.Const("user-unit"), redact.Const("linger"), redact.Const("shell-injects"), redact.Const("authorized-keys"),
	redact.Const("root-authorized-keys"), redact.Const("ssh-private-key"), redact.Const("git-credential"), redact.Const("git-runs"),
	redact.Const("git-redirect"), redact.Const("git-insecure"), redact.Const("git-hook"), redact.Const("npm-token"),
	redact.Const("registry"), redact.Const("npm-runs"), redact.Const("tls-off"), redact.Const("extra-index"),
	redact.Const("url-credential"), redact.Const("path-writable"), redact.Const("path-relative"), redact.Const("runner-kept"),
	redact.Const("runner-shared"), redact.Const("runner-credentials"), redact.Const("runner-settings"), redact.Const("runner-hook"),
	redact.Const("runner-version"), redact.Const("unpinned-action"), redact.Const("token-permissions"),
	redact.Const("core-pattern"), redact.Const("kernel"), redact.Const("ptrace"), redact.Const("aslr"), redact.Const("suid-dump"),
}

// CheckText returns the word of a check for an event, empty for none of ours.
func CheckText(name string) redact.Text {
	t, _ := redact.Pick(checkTexts, name)
	return t
}
