package fleet

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Install describes how a new machine reaches this server.
type Install struct {
	PublicURL     string // as the machines see it, without a slash at the end
	CAFingerprint string // SHA-256 of the private CA, in hex; empty with certificates the machines trust
	// Digest is the SHA-256, in hex, of a served file ("reeve-endpoint-linux-amd64"), or "" when the
	// server does not know it.
	Digest func(file string) string
}

// InstallLine is a command to paste on a machine.
type InstallLine struct {
	Platform string
	Title    string
	Command  string
	Note     string
}

const (
	linuxDir   = "/var/lib/reeve-endpoint"
	darwinDir  = "/Library/Application Support/Reeve/endpoint"
	windowsDir = `$env:ProgramData\Reeve\endpoint`
	// Only administrators write there, unlike below ProgramData: nobody plants a library beside the program.
	windowsPrograms = `$env:ProgramFiles\Reeve`
)

// lines makes the commands for each platform. The token is of our own alphabet (letters, digits, "_",
// "-", "."), so that no shell sees more in it than one word.
func (i Install) lines(token string) []InstallLine {
	return []InstallLine{
		i.unix("linux", "amd64", "Linux (x86-64)", "install -m 0755", "/usr/local/bin/reeve-endpoint", linuxDir, token),
		i.unix("linux", "arm64", "Linux (ARM 64)", "install -m 0755", "/usr/local/bin/reeve-endpoint", linuxDir, token),
		i.windows("amd64", "Windows (x86-64)", token),
		i.windows("arm64", "Windows (ARM 64)", token),
		i.unix("darwin", "arm64", "macOS (Apple silicon)", "mkdir -p /usr/local/bin && install -m 0755", "/usr/local/bin/reeve-endpoint", darwinDir, token),
		i.unix("darwin", "amd64", "macOS (Intel)", "mkdir -p /usr/local/bin && install -m 0755", "/usr/local/bin/reeve-endpoint", darwinDir, token),
	}
}

func (i Install) digest(file string) string {
	if i.Digest == nil {
		return ""
	}
	return i.Digest(file)
}

func (i Install) unix(os, arch, title, install, target, dir, token string) InstallLine {
	file := "reeve-endpoint-" + os + "-" + arch
	digest := i.digest(file)
	check := ""
	if digest != "" {
		tool := map[string]string{"linux": "sha256sum", "darwin": "shasum -a 256"}[os]
		check = fmt.Sprintf(" && echo '%s  '\"$f\" | %s -c -", digest, tool)
	}
	steps := fmt.Sprintf(`f=$(mktemp) && curl -fsSL%s '%s/agent/v1/downloads/%s' -o "$f"%s && %s "$f" %s && %s enrol --server '%s' --token '%s' --data '%s' && %s install --data '%s'`,
		i.curlTrust(digest), i.PublicURL, file, check, install, target, target, i.PublicURL, token, dir, target, dir)
	return InstallLine{Platform: os, Title: title, Command: "sudo sh -c " + shellQuote(steps), Note: i.note(digest, "Run as a user who may use sudo.")}
}

// curlTrust lets the download pass a private CA only when its content is checked by digest.
func (i Install) curlTrust(digest string) string {
	if i.CAFingerprint != "" && digest != "" {
		return " --insecure"
	}
	return ""
}

func (i Install) windows(arch, title, token string) InstallLine {
	file := "reeve-endpoint-windows-" + arch + ".exe"
	digest := i.digest(file)
	trust, check := "", ""
	if digest != "" {
		check = fmt.Sprintf("if ((Get-FileHash $f -Algorithm SHA256).Hash -ne '%s') { throw 'The download is not the expected program.' }; ", strings.ToUpper(digest))
		if i.CAFingerprint != "" {
			trust = "--insecure "
		}
	}
	command := fmt.Sprintf(`$ErrorActionPreference='Stop'; $d="%s"; $p="%s"; New-Item -ItemType Directory -Force $p | Out-Null; $f="$p\reeve-endpoint.exe"; curl.exe -fsSL %s'%s/agent/v1/downloads/%s' -o $f; if ($LASTEXITCODE) { throw 'The download failed.' }; %s& $f enrol --server '%s' --token '%s' --data $d; if ($LASTEXITCODE) { throw 'Enrolling failed.' }; & $f install --data $d`,
		windowsDir, windowsPrograms, trust, i.PublicURL, file, check, i.PublicURL, token)
	return InstallLine{Platform: "windows", Title: title, Command: command, Note: i.note(digest, "Run in PowerShell as an administrator.")}
}

// note says how to run a line, and what stands in its way: better here than on the other machine.
func (i Install) note(digest, how string) string {
	if i.Digest != nil && digest == "" {
		how = "This server does not hold this program, so the download will fail: build it with make endpoints, or set REEVE_ENDPOINT_DIR. " + how
	}
	if u, err := url.Parse(i.PublicURL); err == nil && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()) {
		how = "The address " + i.PublicURL + " works on the server's own machine only: start the server with REEVE_LISTEN, REEVE_PUBLIC_URL and REEVE_TLS=auto to reach it from others. " + how
	}
	switch {
	case digest != "" && i.CAFingerprint != "":
		return how + " The program is checked against its SHA-256, and the server against the fingerprint in the token."
	case digest != "":
		return how + " The program is checked against its SHA-256."
	case i.CAFingerprint != "":
		return how + " The machine must trust the server's certificate authority for the download; the token carries its fingerprint for all that follows."
	}
	return how
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
