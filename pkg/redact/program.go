package redact

// program says which short options of a program take a secret. Long options
// need no table: their names tell.
type program uint16

const (
	progMySQL   program = 1 << iota // -pX, and -p X as people write it
	progP                           // -p X, -pX
	progBigP                        // -P X
	progUser                        // -u user:pass, -U user:pass, -b cookie (curl)
	progAuth                        // -a user:pass, -a X
	progW                           // -w X
	progK                           // -k X
	progPercent                     // -U user%pass
	progLogin                       // the word after "login" or "auth" is the token
	progComma                       // -u user,pass
	progB                           // -b X after "secret"
	progKnown                       // a program whose short options take no secret
)

var programs = map[string]program{
	"mysql": progMySQL, "mysqldump": progMySQL, "mysqladmin": progMySQL, "mysqlimport": progMySQL, "mysqlcheck": progMySQL,
	"mysqlsh": progMySQL, "mysqlshow": progMySQL, "mysqlslap": progMySQL, "mysqlpump": progMySQL, "mariadb": progMySQL,
	"mariadb-dump": progMySQL, "mariadb-admin": progMySQL, "xtrabackup": progMySQL, "mariabackup": progMySQL,
	"sshpass": progP, "mongo": progP, "mongosh": progP, "mongodump": progP, "mongorestore": progP, "mongoexport": progP,
	"mongoimport": progP, "twine": progP, "7z": progP, "7za": progP, "7zr": progP, "rar": progP, "unrar": progP,
	"rabbitmqadmin": progP, "ipmitool": progBigP, "cqlsh": progP, "clickhouse-client": progP, "influx": progP,
	"zip": progBigP, "unzip": progBigP, "sqlcmd": progBigP, "bcp": progBigP, "mosquitto_pub": progBigP, "mosquitto_sub": progBigP,
	"ssh-keygen": progBigP, "mosquitto_rr": progBigP,
	"curl": progUser, "wget": progUser, "curlie": progUser, "xh": progAuth, "http": progAuth, "https": progAuth,
	"redis-cli": progAuth, "valkey-cli": progAuth, "redis-benchmark": progAuth,
	"ldapsearch": progW, "ldapmodify": progW, "ldapadd": progW, "ldapdelete": progW, "ldapwhoami": progW, "ldappasswd": progW, "security": progW,
	"openssl": progK, "nuget": progK, "dotnet": progK,
	"smbclient": progPercent, "rpcclient": progPercent, "smbget": progPercent,
	"lftp": progComma, "ncftpput": progP,
	"cargo": progLogin, "vault": progLogin, "snyk": progLogin, "bao": progLogin,
	"gh": progB, "glab": progB,
	"docker": progKnown, "podman": progKnown, "tar": progKnown, "ssh": progKnown, "git": progKnown, "make": progKnown,
}

// want is what the last word said of the next one.
type want uint8

const (
	wantNothing want = iota
	wantSecret       // all of it is a secret
	wantUser         // a secret after the first colon
	wantPercent      // a secret after the first %
	wantComma        // a secret after the first comma
	wantCookie       // a secret unless it is the name of a file
	wantScript       // a shell script
	wantSet          // a name, then its value
)

// words follows the words of one command.
type words struct {
	prog   program
	next   want
	login  bool // the subcommand login was seen
	secret bool // the subcommand secret was seen
}

// word looks at the next word of a command and says which part of it, if any,
// is a secret because of the words before it. script is true for the argument
// of a shell's -c.
func (l *words) word(w []byte) (from, to int, pattern Text, script bool) {
	if len(w) == 0 {
		l.next = wantNothing
		return 0, 0, Text{}, false
	}
	next := l.next
	l.next = wantNothing
	switch next {
	case wantSecret:
		if (len(w) < 3 || w[0] != '-' || w[1] != '-') && !reference(w) && !isBuildSecret(w) {
			return 0, len(w), patOption, false
		}
	case wantUser:
		if i := indexByte(w, ':'); i >= 0 && !reference(w[i+1:]) {
			return i + 1, len(w), patPassword, false
		}
		return 0, 0, Text{}, false
	case wantPercent, wantComma:
		sep := byte('%')
		if next == wantComma {
			sep = ','
		}
		if i := indexByte(w, sep); i >= 0 && !reference(w[i+1:]) {
			return i + 1, len(w), patPassword, false
		}
		return 0, 0, Text{}, false
	case wantCookie:
		if i := indexByte(w, '='); i >= 0 {
			return i + 1, len(w), patCookie, false
		}
		return 0, 0, Text{}, false
	case wantScript:
		return 0, 0, Text{}, true
	case wantSet:
		// config set NAME VALUE
		if k := classify(afterLast(w, ':')); k == keyStrong && indexByte(w, '=') < 0 {
			l.next = wantSecret
		}
		return 0, 0, Text{}, false
	}
	if len(w) > 5 && string(w[:5]) == "pass:" && !reference(w[5:]) { // openssl-passphrase-options(1)
		return 5, len(w), patPassword, false
	}
	if w[0] == '-' && len(w) > 1 {
		return l.option(w)
	}
	if len(w) <= 24 {
		switch string(w) {
		case "login":
			l.login = true
			if l.prog&progLogin != 0 {
				l.next = wantSecret
			}
			return 0, 0, Text{}, false
		case "auth":
			if l.prog&progLogin != 0 {
				l.next = wantSecret
			}
			return 0, 0, Text{}, false
		case "secret":
			l.secret = true
		case "set", "setapikey":
			l.next = wantSet
			if len(w) > 3 {
				l.next = wantSecret
			}
			return 0, 0, Text{}, false
		}
	}
	if name := afterLast(w, '/'); len(name) <= 20 {
		l.prog |= programs[string(name)]
	}
	return 0, 0, Text{}, false
}

// option looks at a word that begins with a dash.
func (l *words) option(w []byte) (from, to int, pattern Text, script bool) {
	if w[1] != '-' {
		if n := len(w); w[n-1] == 'c' && n <= 6 && lowerLetters(w[1:]) {
			l.next = wantScript // sh -c, bash -lc, bash -exc
		}
		attached := func() (int, int, Text, bool) {
			if len(w) > 2 && !reference(w[2:]) {
				return 2, len(w), patOption, false
			}
			if len(w) == 2 {
				l.next = wantSecret
			}
			return 0, 0, Text{}, false
		}
		switch w[1] {
		case 'p':
			if l.prog&(progMySQL|progP) != 0 && !longOption(w) || l.login && len(w) == 2 {
				return attached()
			}
		case 'P':
			if l.prog&progBigP != 0 {
				return attached()
			}
		case 'N':
			if l.prog&progBigP != 0 && len(w) == 2 {
				l.next = wantSecret
			}
		case 'u', 'U':
			kind := wantNothing
			switch {
			case l.prog&progUser != 0:
				kind = wantUser
			case l.prog&progPercent != 0:
				kind = wantPercent
			case l.prog&progComma != 0:
				kind = wantComma
			}
			if kind != wantNothing {
				if len(w) == 2 {
					l.next = kind
				} else if i := indexByte(w, ':'); kind == wantUser && i > 2 && !reference(w[i+1:]) {
					return i + 1, len(w), patPassword, false
				} else if i := indexByte(w, '%'); kind == wantPercent && i > 2 {
					return i + 1, len(w), patPassword, false
				} else if i := indexByte(w, ','); kind == wantComma && i > 2 {
					return i + 1, len(w), patPassword, false
				}
				return 0, 0, Text{}, false
			}
		case 'b':
			if l.prog&progUser != 0 && len(w) == 2 {
				l.next = wantCookie
				return 0, 0, Text{}, false
			}
			if l.prog&progB != 0 && l.secret && len(w) == 2 {
				l.next = wantSecret
				return 0, 0, Text{}, false
			}
		case 'a':
			if l.prog&progAuth != 0 {
				return attached()
			}
		case 'w':
			if l.prog&progW != 0 {
				return attached()
			}
		case 'k', 'K':
			if l.prog&progK != 0 && len(w) == 2 {
				l.next = wantSecret
				return 0, 0, Text{}, false
			}
		}
	}
	name := w[1:]
	if name[0] == '-' {
		name = name[1:]
	}
	if eq := indexByte(name, '='); eq >= 0 {
		if l.prog&progUser != 0 && isUserOption(name[:eq]) {
			v := len(w) - len(name) + eq + 1
			if i := indexByte(w[v:], ':'); i >= 0 && !reference(w[v+i+1:]) {
				return v + i + 1, len(w), patPassword, false
			}
		}
		return 0, 0, Text{}, false
	}
	switch {
	case l.prog&progUser != 0 && isUserOption(name):
		l.next = wantUser
	case l.prog&progUser != 0 && string(name) == "cookie":
		l.next = wantCookie
	case l.prog&progB != 0 && l.secret && string(name) == "body":
		l.next = wantSecret
	case l.prog&progAuth != 0 && string(name) == "auth":
		l.next = wantSecret
	case l.prog&progUser != 0 && string(name) == "oauth2-bearer":
		l.next = wantSecret
	case len(name) >= 4 && takesSecret(name):
		l.next = wantSecret
	}
	return 0, 0, Text{}, false
}

// takesSecret reports whether the option name is followed by a secret.
func takesSecret(name []byte) bool {
	if string(name) == "pass" || string(name) == "storepass" || string(name) == "keypass" {
		return true
	}
	return classify(name) == keyStrong
}

func isUserOption(name []byte) bool {
	return string(name) == "user" || string(name) == "proxy-user" || string(name) == "aws-sigv4-user"
}

// longOption reports whether a word such as -port is a long option with one
// dash rather than -p with its value.
func longOption(w []byte) bool {
	switch string(w) {
	case "-port", "-path", "-profile", "-project", "-print", "-params":
		return true
	}
	return false
}

// isBuildSecret reports whether w is docker build's --secret id=…, which
// names a file.
func isBuildSecret(w []byte) bool {
	return len(w) > 3 && (string(w[:3]) == "id=" || len(w) > 5 && string(w[:5]) == "type=")
}

func afterLast(w []byte, sep byte) []byte {
	for i := len(w) - 1; i >= 0; i-- {
		if w[i] == sep {
			return w[i+1:]
		}
	}
	return w
}

func lowerLetters(w []byte) bool {
	for _, c := range w {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}
