package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/bus"
	"reeve/server/migrations"
	"reeve/server/privatedb"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/secrets"
)

// version and commit are set when the binary is linked.
var version, commit = "dev", "unknown"

// Version is what the version command prints.
func Version() string { return version + " (" + commit + ")" }

// stopTimeout bounds how long a command takes to put everything down again.
const stopTimeout = 30 * time.Second

// PrintRoles writes the SQL that an administrator of an external PostgreSQL runs once.
func PrintRoles(w io.Writer) error {
	_, err := io.WriteString(w, migrations.Roles)
	return err
}

// Migrate brings the schema up to date and stops.
func Migrate(ctx context.Context, o Options) error {
	return withCleanups(o, func(c *cleanups) error {
		_, urls, err := openDatabase(ctx, o, c, privatedb.Attach)
		if err != nil {
			return err
		}
		if err := migrations.Up(ctx, urls.migration, o.Log); err != nil {
			return err
		}
		v, err := migrations.Version(ctx, urls.migration)
		if err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "the schema is at version %d\n", v)
		return nil
	})
}

// ErrAuditBroken is the error of a verification that found something.
var ErrAuditBroken = errors.New("the audit log is not what was written")

// VerifyAudit checks every chain against itself and against the signed checkpoints, and tells what it found.
func VerifyAudit(ctx context.Context, o Options, w io.Writer) error {
	if err := existing(o); err != nil {
		return err
	}
	return withCleanups(o, func(c *cleanups) error {
		s, err := openState(ctx, o, c, privatedb.Attach)
		if err != nil {
			return err
		}
		known, err := s.checkpoints(o)
		if err != nil {
			return fmt.Errorf("the checkpoints in %s are not what was signed: %w", checkpointFile(o), err)
		}
		reports, err := audit.VerifyAll(scope.AsSystem(ctx, "verify-audit"), s.db, known)
		if err != nil {
			return err
		}
		broken := false
		for _, r := range reports {
			state := "intact"
			if !r.Intact() {
				state, broken = "NOT INTACT", true
			}
			fmt.Fprintf(w, "tenant %s: %d entries, %s\n", uuid.UUID(r.TenantID), r.Entries, state)
			for _, f := range r.Findings {
				fmt.Fprintf(w, "  entry %d %s: %s\n", f.Number, f.Kind, f.Detail)
			}
			if r.More {
				fmt.Fprintln(w, "  … and more")
			}
		}
		if broken {
			return ErrAuditBroken
		}
		return nil
	})
}

// Rescue lets one of the provider's people in again, and prints the link to a new password.
func Rescue(ctx context.Context, o Options, email string) error {
	if err := existing(o); err != nil {
		return err
	}
	return withCleanups(o, func(c *cleanups) error {
		s, err := openState(ctx, o, c, privatedb.Attach)
		if err != nil {
			return err
		}
		messages, err := bus.New(ctx, o.NATSURL, o.Log)
		if err != nil {
			return err
		}
		c.add("bus", func(context.Context) error { return messages.Close() })
		w := &services{}
		w.Users = tenants.NewUsers(s.db)
		w.Settings = tenants.NewSettings(s.db, s.keeper)
		if err := wireSignIn(w, s, o, messages, publicURL(o, o.Listen)); err != nil {
			return err
		}
		i, err := w.Auth.Rescue(scope.AsSystem(ctx, "rescue"), email)
		if err != nil {
			return fmt.Errorf("rescuing %s: %w", email, err)
		}
		fmt.Fprintf(o.Out, "The second factor of %s is removed and every session ended. Set a new password, once, before %s:\n  %s\n",
			i.User.Email, i.ExpiresAt.UTC().Format("15:04 UTC"), i.URL)
		return nil
	})
}

// keyLead is how long a new key waits before it signs: replicas read the keys every minute.
const keyLead = 5 * time.Minute

// masterKeys is what the master key is called among the keys that can be rotated.
const masterKeys = "master"

// RotateKeys puts a new key in the place of the one in use. Whatever the old one signed stays valid.
func RotateKeys(ctx context.Context, o Options, which string) error {
	if err := existing(o); err != nil {
		return err
	}
	return withCleanups(o, func(c *cleanups) error {
		s, err := openState(ctx, o, c, privatedb.Attach)
		if err != nil {
			return err
		}
		ctx := scope.AsSystem(ctx, "rotate-keys")
		if which == masterKeys {
			return s.rotateMaster(ctx, o)
		}
		var kid string
		err = s.db.System(ctx, func(tx *gorm.DB) error {
			key, err := s.keys.RotateTx(tx, secrets.Purpose(which), keyLead)
			if err != nil {
				return err
			}
			kid = key.KeyID
			return audit.WriteTx(tx, audit.Entry{TenantID: scope.Provider, Action: "server_key.rotated", ObjectType: "server_key",
				ObjectID: key.KeyID, ObjectName: which, Detail: map[string]any{"vouched_by": key.SignedBy}})
		})
		if err != nil {
			return fmt.Errorf("rotating the %s key: %w", which, err)
		}
		fmt.Fprintf(o.Out, "%s signs from %s on\n", kid, s.now().Add(keyLead).UTC().Format("2006-01-02 15:04 UTC"))
		return nil
	})
}

// rotateMaster wraps every key anew and drops the master keys that nothing is wrapped with any more.
func (s *state) rotateMaster(ctx context.Context, o Options) error {
	wrapped, err := s.keeper.RotateMaster(ctx)
	if err != nil {
		return err
	}
	dropped, err := s.keeper.RetireMasters(ctx)
	if err != nil {
		return err
	}
	err = s.db.System(ctx, func(tx *gorm.DB) error {
		return audit.WriteTx(tx, audit.Entry{TenantID: scope.Provider, Action: "server_key.rotated", ObjectType: "server_key",
			ObjectName: masterKeys, Detail: map[string]any{"wrapped_anew": wrapped, "dropped": dropped}})
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%d keys are wrapped with a new master key in %s; copy the file to every replica, and make a backup\n", wrapped, o.MasterKeyFile)
	return nil
}

// existing refuses a place where no server has ever run: a wrong folder must not become a new server.
func existing(o Options) error {
	if _, err := os.Stat(o.MasterKeyFile); err != nil {
		return fmt.Errorf("there is no server: the master key: %w", err)
	}
	return nil
}

// withCleanups runs a command and puts down what it brought up, whatever happened.
func withCleanups(o Options, run func(*cleanups) error) error {
	c := &cleanups{log: o.Log}
	err := run(c)
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return errors.Join(err, c.unwind(ctx))
}
