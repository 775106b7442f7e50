package cacheredis

import (
	"context"
	"net"
	"reflect"
	"sync"

	"github.com/redis/go-redis/v9"
)

// dedicated are options for one connection, whose end is an error and not a
// reason to dial another: behind a new one may be another server, or the same
// with another log.
func dedicated(from *redis.Options, l *link) *redis.Options {
	to := *from
	to.PoolSize, to.MinIdleConns = 1, 0
	to.MaxRetries = -1
	to.ConnMaxIdleTime, to.ConnMaxLifetime = -1, -1
	to.ReadTimeout, to.WriteTimeout = patience, patience
	to.ContextTimeoutEnabled = true
	to.Dialer = l.dialer(from.Dialer)
	plain(&to)
	return &to
}

// plain turns off what newer versions of go-redis than the one required here do
// by themselves over RESP3: handlers of push notifications belong to one client,
// and come along with its options, as does what a client writes to when its first
// connection finds that the server has none.
func plain(o *redis.Options) {
	fields := reflect.ValueOf(o).Elem()
	if protocol := fields.FieldByName("Protocol"); protocol.IsValid() {
		protocol.SetInt(2)
	}
	if processor := fields.FieldByName("PushNotificationProcessor"); processor.IsValid() {
		processor.SetZero()
	}
	if config := fields.FieldByName("MaintNotificationsConfig"); config.IsValid() {
		config.SetZero()
	}
}

// link is the connections that a subscription has dialled, for closing them while
// they are being read.
type link struct {
	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

func (l *link) dialer(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed {
			conn.Close()
			return nil, net.ErrClosed
		}
		l.conns = append(l.conns, conn)
		return conn, nil
	}
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, conn := range l.conns {
		conn.Close()
	}
}
