package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrNotRunning is what Pause and Resume return when the server is down.
var ErrNotRunning = errors.New("engine: server is not running")

// ErrClosed is what every method that could fail returns after Close.
var ErrClosed = errors.New("engine: server is closed")

// Server is a server that was started here. Its methods may be called from
// several goroutines; one takes effect after another.
type Server struct {
	recipe recipe
	site   *site

	mu     sync.Mutex // held over whole operations: there is one process to act on
	run    *group     // nil when the server is down
	closed bool
}

func start(ctx context.Context, r recipe, dir string) (*Server, error) {
	site, err := newSite(r, dir)
	if err != nil {
		return nil, err
	}
	s := &Server{recipe: r, site: site}
	if r.prepare != nil {
		err = r.prepare(ctx, site)
	}
	if err == nil {
		err = s.launch(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Addr is the address that clients dial, as host:port. It stays the same over
// restarts.
func (s *Server) Addr() string { return s.site.ports[0].addr() }

// URL is the address in the form that the drivers for Go take, with the user
// and the database that exist.
func (s *Server) URL() string { return s.recipe.url(s.Addr()) }

// Dir is the directory of the server, with its data and the file server.log.
func (s *Server) Dir() string { return s.site.dir }

// Stop asks the server to end, as an operator would, and waits until it has. A
// paused server is resumed for it. Returns nil if the server is down already,
// an error if it did not end well, and the context's cause if that ends first:
// then the server is asked but may still be running.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop(ctx)
}

// Kill ends every process of the server with SIGKILL and waits until they are
// gone. Returns nil if the server is down already.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kill()
}

// Pause stops every process of the server with SIGSTOP. Connections stay open,
// the kernel even accepts new ones, and nothing answers.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.up() {
		return ErrNotRunning
	}
	return s.run.pause()
}

// Resume lets a paused server go on. Resuming one that is not paused does
// nothing.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.up() {
		return ErrNotRunning
	}
	return s.run.resume()
}

// Restart starts the server again, on the same ports and with the same data, and
// returns when it serves clients; it stops the server first if it is running.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.stop(ctx); err != nil {
		return err
	}
	return s.launch(ctx)
}

// Close kills the server if it is running, gives its ports back and removes its
// directory if that is a temporary one. Closing again does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(s.kill(), s.site.remove())
}

// up reports whether the server's own process is there. It may have gone without
// our doing.
func (s *Server) up() bool { return s.run != nil && !s.run.main().gone() }

func (s *Server) stop(ctx context.Context) error {
	if !s.up() {
		return s.kill()
	}
	ended, err := s.run.stop(ctx, s.recipe.stop)
	if ended {
		s.run = nil
	}
	if err != nil {
		return fmt.Errorf("engine: stop %s: %w", s.recipe.name, err)
	}
	return nil
}

// kill also cleans up after a server that went by itself: its companions may
// still be there.
func (s *Server) kill() error {
	if s.run == nil {
		return nil
	}
	err := s.run.kill()
	s.run = nil
	if err != nil {
		return fmt.Errorf("engine: kill %s: %w", s.recipe.name, err)
	}
	return nil
}

// launch starts the processes and waits until clients are served; otherwise none
// of them is left.
func (s *Server) launch(ctx context.Context) error {
	log, err := os.OpenFile(s.site.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("engine: log of %s: %w", s.recipe.name, err)
	}
	defer log.Close() // the processes have their own handles
	if s.run, err = newGroup(); err != nil {
		return err
	}
	for _, cmd := range s.recipe.commands(s.site) {
		cmd.Stdout, cmd.Stderr = log, log
		if err := s.run.start(cmd, s.site.account); err != nil {
			return errors.Join(fmt.Errorf("engine: start %s: %w", filepath.Base(cmd.Path), err), s.kill())
		}
	}
	if err := s.awaitReady(ctx); err != nil {
		return errors.Join(err, s.kill())
	}
	return nil
}

// awaitReady knocks until the server answers in its protocol, ends, or the
// context does. What the server said last is in the error.
func (s *Server) awaitReady(ctx context.Context) error {
	const between = 20 * time.Millisecond
	knock := time.NewTicker(between)
	defer knock.Stop()
	for {
		err := s.probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.run.main().exited:
			return fmt.Errorf("engine: %s ended before it was ready: %w%s", s.recipe.name, s.run.main().err, s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("engine: %s is not ready: %w, last: %w%s", s.recipe.name, context.Cause(ctx), err, s.logTail())
		case <-knock.C:
		}
	}
}

// probe is one attempt. A server that takes the connection and stays silent for
// two seconds is asked again on a fresh one.
func (s *Server) probe(ctx context.Context) error {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp4", s.Addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	unblock := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer unblock()
	return s.recipe.ready(conn)
}

func (s *Server) logTail() string {
	log, err := os.ReadFile(s.site.logPath())
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	return fmt.Sprintf("; its log ends:\n%s", tail(log))
}
