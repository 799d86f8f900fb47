// Command simulate is a seeded fleet of virtual endpoints in one process that speak the real protocol:
// they enrol, hold a WebSocket or come by HTTPS, verify signed tasks, keep a journal in memory and act
// out scripts. They say of themselves that they are simulated. Lines on its standard input steer it and
// lines of JSON on its standard output tell what happened; "help" lists both.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const help = `Commands, one a line:
  grow N     let N more devices join
  report     print figures since the last report, and begin anew
  stop       say goodbye and end
Events, one JSON object a line:
  ready      after the start and after each grow: all devices are enrolled and have synced
  verified   (with --trace) a device has verified a task: task, device, at (Unix nanoseconds)
  report     counts, and quantiles of the time a sync took
`

// options is what the fleet is told at its start.
type options struct {
	server   string
	tokens   []string
	ca       string
	devices  int
	interval time.Duration
	carrier  string
	seed     uint64
	chaos    float64
	workTime time.Duration
	trace    bool
	joins    int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out, log io.Writer) error {
	var o options
	var tokens string
	var duration time.Duration
	f := flag.NewFlagSet("simulate", flag.ContinueOnError)
	f.StringVar(&o.server, "server", "http://127.0.0.1:8480", "address of the server")
	f.StringVar(&tokens, "tokens", os.Getenv("REEVE_ENROL_TOKEN"), "enrolment tokens, separated by commas; devices are spread over them (REEVE_ENROL_TOKEN)")
	f.StringVar(&tokens, "token", tokens, "the same")
	f.StringVar(&o.ca, "ca", "", "file of the authority to trust, in PEM; the system's when empty")
	f.IntVar(&o.devices, "devices", 10, "how many devices join")
	f.DurationVar(&o.interval, "interval", 0, "between syncs; what the server says when 0")
	f.StringVar(&o.carrier, "carrier", "websocket", "websocket or https")
	f.Uint64Var(&o.seed, "seed", 1, "of all that is random but the keys")
	f.Float64Var(&o.chaos, "chaos", 0, "chance that a sync is followed by repetitions of older ones, up to 1")
	f.DurationVar(&o.workTime, "work", 200*time.Millisecond, "longest time a simulated script takes by itself")
	f.BoolVar(&o.trace, "trace", false, "print an event for each verified task")
	f.IntVar(&o.joins, "joins", 32, "enrolments at once")
	f.DurationVar(&duration, "duration", 0, "end after this time; 0 is until told")
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "Usage: simulate --server URL --token TOKEN [flags]")
		f.PrintDefaults()
		fmt.Fprint(f.Output(), help)
	}
	f.SetOutput(log)
	if err := f.Parse(args); err != nil {
		return err
	}
	o.tokens = strings.FieldsFunc(tokens, func(r rune) bool { return r == ',' || r == ' ' })
	if len(o.tokens) == 0 || o.devices < 0 || (o.carrier != "websocket" && o.carrier != "https") || o.chaos < 0 || o.chaos > 1 {
		return errors.New("give --token, --devices from 0, --carrier websocket or https, and --chaos from 0 to 1")
	}
	if duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, duration)
		defer cancel()
	}
	fleet, err := newFleet(o, out, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		return err
	}
	return steer(ctx, fleet, in)
}

// steer obeys the commands until the end of the context, or the word "stop". The end of the input alone
// ends nothing, so that the fleet can run detached.
func steer(ctx context.Context, f *fleet, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan string)
	go func() {
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	if err := f.grow(ctx, f.o.devices); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return f.stop()
		case line := <-lines:
			command, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch command {
			case "grow":
				n, err := strconv.Atoi(argument)
				if err != nil || n < 0 {
					return fmt.Errorf("grow by how many: %q", argument)
				}
				if err := f.grow(ctx, n); err != nil {
					return err
				}
			case "report":
				f.report()
			case "stop":
				return f.stop()
			}
		}
	}
}
