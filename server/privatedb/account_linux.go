package privatedb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is who runs PostgreSQL, which refuses to run as root.
type account struct {
	name     string
	uid, gid uint32
	switches bool // we are root and become this account; otherwise it is our own
}

func chooseAccount() (account, error) {
	if os.Geteuid() != 0 {
		own, err := user.LookupId(strconv.Itoa(os.Geteuid()))
		if err != nil {
			return account{}, fmt.Errorf("this server runs as the user id %d, which has no name, and PostgreSQL insists on one; "+
				"add the account to /etc/passwd, or point REEVE_DATABASE_URL at a database", os.Geteuid())
		}
		return account{name: own.Username, uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return account{}, fmt.Errorf("account %s: %w", name, err)
		}
		return account{name: name, uid: uint32(uid), gid: uint32(gid), switches: true}, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root and there is neither an account postgres nor nobody; " +
		"create one (useradd --system postgres) or start reeve-server as another user")
}

// adopt is the account for an existing cluster: root becomes whoever owns it, so that a server that was
// started as a plain user once may be started as root later. PostgreSQL accepts nobody but the owner.
func (a account) adopt(data string) (account, error) {
	info, err := os.Stat(data)
	if err != nil {
		return a, fmt.Errorf("data folder: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == a.uid {
		return a, nil
	}
	name := strconv.FormatUint(uint64(stat.Uid), 10)
	if owner, err := user.LookupId(name); err == nil {
		name = owner.Username
	}
	if !a.switches || stat.Uid == 0 {
		return a, fmt.Errorf("the database in %s belongs to the account %q, and this server would run it as %q; start it as the former", data, name, a.name)
	}
	return account{name: name, uid: stat.Uid, gid: stat.Gid, switches: true}, nil
}

func (a account) attributes() *syscall.SysProcAttr {
	// Its own process group: Ctrl-C at the terminal must reach the server only, which then stops
	// PostgreSQL last. SIGINT is a fast shutdown, sent by the kernel when the starting thread dies.
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	if a.switches {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}

// environment is what PostgreSQL's programs get to see: nothing of the server's own secrets.
func (a account) environment() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC", "USER=" + a.name, "HOME=/"}
}

// reaches tells whether the account can enter a folder. It is tried, not computed: the kernel changes
// user before it changes folder, and knows about access lists.
func (a account) reaches(dir, bin string) bool {
	if !a.switches {
		return true
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), "-V")
	cmd.Dir = dir
	cmd.SysProcAttr = a.attributes()
	_, err := finish(cmd)
	return err == nil
}

// own makes sure that a folder exists and belongs to the account alone, or hands over a file.
func (a account) own(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
			return fmt.Errorf("data folder: %w", err)
		}
		if err = os.Mkdir(path, 0o700); err == nil {
			info, err = os.Stat(path)
		}
	}
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if a.switches {
		if err := os.Chown(path, int(a.uid), int(a.gid)); err != nil {
			return fmt.Errorf("data folder: %w", err)
		}
	}
	if info.IsDir() {
		if err := os.Chmod(path, 0o700); err != nil {
			return fmt.Errorf("data folder: %w", err)
		}
	}
	return nil
}

// socketFolder is a folder that only the account enters: inside the cluster's own when the path is
// short enough for a socket, and otherwise under /tmp.
func (a account) socketFolder(dir string) (string, error) {
	folder := filepath.Join(dir, "socket")
	if len(folder)+len("/.s.PGSQL.5432") > longestSocket {
		folder = "/tmp/reeve-" + hash(dir)
		if err := a.checkShared(folder); err != nil {
			return "", err
		}
	}
	return folder, a.own(folder)
}

// checkShared refuses a folder in a place where anybody may make one, unless it is ours already.
func (a account) checkShared(folder string) error {
	info, err := os.Lstat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("socket folder: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || stat.Uid != a.uid && stat.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("socket folder %s belongs to somebody else; remove it", folder)
	}
	return nil
}

// lockFolder keeps a second server out of a folder. The kernel lets go of it when this process ends.
func lockFolder(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrInUse, dir, err), file.Close())
	}
	return file, nil
}
