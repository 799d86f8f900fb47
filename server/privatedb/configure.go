package privatedb

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// include lets the cluster's postgresql.conf read our settings, and after them the operator's own.
func (l location) include(data string) error {
	file, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("configuring the private database: %w", err)
	}
	_, err = file.WriteString("\ninclude_if_exists 'reeve.conf'   # written by reeve-server at every start\n" +
		"include_if_exists 'local.conf'   # yours: overrides the lines above, never touched\n")
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("configuring the private database: %w", err)
	}
	return nil
}

// configure writes our settings. They are sized for a small machine that also runs the server; an
// operator with a big one uses local.conf, or a PostgreSQL of their own.
func (l location) configure(scratch bool) error {
	memory := memoryMiB()
	lines := []string{
		"# Written by reeve-server at every start; put your own settings into local.conf.",
		fmt.Sprintf("shared_buffers = %dMB", min(max(memory/8, 64), 1024)),
		fmt.Sprintf("effective_cache_size = %dMB", max(memory/2, 256)),
		"work_mem = 8MB",
		"maintenance_work_mem = 64MB",
		"max_connections = 100",
		"max_wal_size = 1GB",
		"checkpoint_timeout = 15min",
		"wal_compression = on",
		"random_page_cost = 1.1",
		"jit = off", // planning for row-level security trips it on small queries
		"timezone = 'UTC'",
		"log_timezone = 'UTC'",
		"client_connection_check_interval = 10s", // a query whose client is gone stops
		"log_lock_waits = on",
		"log_autovacuum_min_duration = 10s",
	}
	if scratch {
		lines = append(lines, "shared_buffers = 64MB", "max_wal_size = 256MB", "fsync = off", "synchronous_commit = off",
			"full_page_writes = off", "autovacuum = off", "max_connections = 200", "wal_level = minimal", "max_wal_senders = 0")
	} else {
		lines = append(lines, "logging_collector = on", "log_directory = '../log'", "log_filename = 'postgresql-%a.log'",
			"log_truncate_on_rotation = on", "log_rotation_age = 1d", "log_rotation_size = 0", "log_line_prefix = '%m [%p] %q%u@%d '")
	}
	path := filepath.Join(l.data, "reeve.conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("configuring the private database: %w", err)
	}
	return l.account.own(path)
}

// memoryMiB is the machine's memory, or what the container may use of it.
func memoryMiB() int {
	memory := 1024
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int
		if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err == nil {
			memory = kib / 1024
		}
	}
	if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		var bytes int64
		if _, err := fmt.Sscanf(string(text), "%d", &bytes); err == nil {
			memory = min(memory, int(bytes>>20))
		}
	}
	return memory
}
