// Load for relays, and the server behind them: epoll(7) by system calls, one thread each, so that what
// is measured is the relay. Arguments: serve COUNT (as many listening sockets on 127.0.0.1; says their
// ports, serves for ever), or bulk|trips|connects CONNECTIONS SECONDS PORT, or idle|kill CONNECTIONS
// PORT. A connection whose first byte is 'S' is drained, any other gets back what it says.
// Load says `begin` once it is under way and at last a line of JSON; it ends when its input does.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	messageBytes = 64
	chunkBytes   = 256 << 10
	mostFds      = 1 << 16
	backlog      = 4096
	warmUp       = 500 * time.Millisecond
	afterKill    = 1500 * time.Millisecond
	patience     = 5 // seconds
)

type report map[string]any

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func say(values report) {
	text, err := json.Marshal(values)
	check(err)
	fmt.Println(string(text))
}

func loopback(port int) *syscall.SockaddrInet4 {
	return &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// dial connects at once: on loopback the kernel needs no second turn for it.
func dial(port int) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: patience})
	if err := syscall.Connect(fd, loopback(port)); err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

func send(fd int, bytes []byte, flags uintptr) (int, syscall.Errno) {
	return transfer(syscall.SYS_SENDTO, fd, bytes, flags|syscall.MSG_NOSIGNAL)
}

func receive(fd int, into []byte, flags uintptr) (int, syscall.Errno) {
	return transfer(syscall.SYS_RECVFROM, fd, into, flags)
}

// transfer tries again after a signal: the runtime sends some to its own threads.
func transfer(call uintptr, fd int, bytes []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&bytes[0])), uintptr(len(bytes)), flags, 0, 0)
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

type poll struct {
	fd     int
	events [256]syscall.EpollEvent
}

func newPoll() *poll {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	check(err)
	return &poll{fd: fd}
}

func (p *poll) add(fd int, events uint32) {
	check(syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)}))
}

func (p *poll) wait(timeoutMs int) []syscall.EpollEvent {
	n, err := syscall.EpollWait(p.fd, p.events[:], timeoutMs)
	if err == syscall.EINTR {
		return nil
	}
	check(err)
	return p.events[:n]
}

const (
	unknown = iota
	echoed
	drained
	listening
)

func serve(count int) {
	poller := newPoll()
	kinds := make([]byte, mostFds)
	buffer := make([]byte, 1<<20)
	ports := make([]string, count)
	for i := range ports {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		check(err)
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		check(syscall.Bind(fd, loopback(0)))
		check(syscall.Listen(fd, backlog))
		name, err := syscall.Getsockname(fd)
		check(err)
		ports[i] = strconv.Itoa(name.(*syscall.SockaddrInet4).Port)
		kinds[fd] = listening
		poller.add(fd, syscall.EPOLLIN)
	}
	fmt.Println(strings.Join(ports, " "))
	for {
		for _, event := range poller.wait(-1) {
			fd := int(event.Fd)
			switch kinds[fd] {
			case listening:
				for {
					client, _, err := syscall.Accept4(fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
					if err != nil {
						break
					}
					kinds[client] = unknown
					poller.add(client, syscall.EPOLLIN)
				}
			case drained:
				// Thrown away by the kernel: it costs no copy.
				if n, errno := receive(fd, buffer, syscall.MSG_TRUNC); n <= 0 && errno != syscall.EAGAIN {
					syscall.Close(fd)
				}
			default:
				n, errno := receive(fd, buffer[:4096], 0)
				if errno == syscall.EAGAIN {
					continue
				}
				if n <= 0 {
					syscall.Close(fd)
					continue
				}
				if kinds[fd] == unknown {
					kinds[fd] = echoed
					if buffer[0] == 'S' {
						kinds[fd] = drained
						continue
					}
				}
				send(fd, buffer[:n], 0)
			}
		}
	}
}

// window tells when the measured stretch is on, and when it is over.
type window struct {
	from, until time.Time
	open        bool
}

func newWindow(seconds float64) *window {
	from := time.Now().Add(warmUp)
	return &window{from: from, until: from.Add(time.Duration(seconds * float64(time.Second)))}
}

func (w *window) isOver(now time.Time) bool {
	if !w.open && now.After(w.from) {
		w.open = true
		w.from = now
		fmt.Println("begin")
	}
	return now.After(w.until)
}

func (w *window) seconds() float64 { return time.Since(w.from).Seconds() }

func bulk(connections int, seconds float64, port int) {
	poller := newPoll()
	chunk := make([]byte, chunkBytes)
	chunk[0] = 'S'
	for i := 0; i < connections; i++ {
		fd, err := dial(port)
		check(err)
		check(syscall.SetNonblock(fd, true))
		poller.add(fd, syscall.EPOLLOUT)
	}
	bytes := 0
	w := newWindow(seconds)
	for !w.isOver(time.Now()) {
		for _, event := range poller.wait(100) {
			n, errno := send(int(event.Fd), chunk, 0)
			if errno != 0 && errno != syscall.EAGAIN {
				check(errno)
			}
			if w.open && n > 0 {
				bytes += n
			}
		}
	}
	say(report{"mb": float64(bytes) / 1e6, "seconds": w.seconds()})
}

func percentile(sorted []int64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(share*float64(len(sorted)-1))]) / 1e3
}

func trips(connections int, seconds float64, port int) {
	poller := newPoll()
	sentAt := make([]time.Time, mostFds)
	took := make([]int64, 0, 1<<21)
	message, buffer := make([]byte, messageBytes), make([]byte, messageBytes)
	for i := 0; i < connections; i++ {
		fd, err := dial(port)
		check(err)
		poller.add(fd, syscall.EPOLLIN)
		sentAt[fd] = time.Now()
		send(fd, message, 0)
	}
	w := newWindow(seconds)
	for !w.isOver(time.Now()) {
		for _, event := range poller.wait(100) {
			fd := int(event.Fd)
			n, errno := receive(fd, buffer, syscall.MSG_WAITALL)
			if n != messageBytes {
				check(fmt.Errorf("a round trip failed: %d bytes, %v", n, errno))
			}
			now := time.Now()
			if w.open {
				took = append(took, int64(now.Sub(sentAt[fd])))
			}
			sentAt[fd] = now
			send(fd, message, 0)
		}
	}
	elapsed := w.seconds()
	sort.Slice(took, func(a, b int) bool { return took[a] < took[b] })
	say(report{"trips": len(took), "seconds": elapsed, "p50Us": percentile(took, 0.5), "p99Us": percentile(took, 0.99)})
}

func connects(clients int, seconds float64, port int) {
	poller := newPoll()
	message, buffer := make([]byte, messageBytes), make([]byte, messageBytes)
	count, failed := 0, 0
	open := func() {
		fd, err := dial(port)
		check(err)
		poller.add(fd, syscall.EPOLLIN)
		send(fd, message, 0)
	}
	for i := 0; i < clients; i++ {
		open()
	}
	w := newWindow(seconds)
	for !w.isOver(time.Now()) {
		for _, event := range poller.wait(100) {
			n, _ := receive(int(event.Fd), buffer, syscall.MSG_WAITALL)
			syscall.Close(int(event.Fd))
			if n != messageBytes {
				failed++
			} else if w.open {
				count++
			}
			open()
		}
	}
	say(report{"connects": count, "failed": failed, "seconds": w.seconds()})
}

func longer(a, b time.Duration) time.Duration {
	if a > b {
		return a
	}
	return b
}

// idle opens connections, each of which has been answered.
func idle(connections int, port int) {
	buffer := make([]byte, 1)
	open := 0
	for ; open < connections; open++ {
		fd, err := dial(port)
		if err != nil {
			fmt.Fprintf(os.Stderr, "connection %d: %v\n", open, err)
			break
		}
		send(fd, []byte{1}, 0)
		if n, errno := receive(fd, buffer, 0); n != 1 {
			fmt.Fprintf(os.Stderr, "connection %d: %d bytes came back: %v\n", open, n, errno)
			break
		}
	}
	say(report{"open": open})
}

// kill keeps connections busy. For each line of process ids it kills those, and tells how long each
// connection was silent from there on.
func kill(connections int, port int) {
	poller := newPoll()
	repliedAt := make([]time.Time, mostFds)
	silence := map[int]time.Duration{}
	message, buffer := make([]byte, messageBytes), make([]byte, messageBytes)
	for i := 0; i < connections; i++ {
		fd, err := dial(port)
		check(err)
		poller.add(fd, syscall.EPOLLIN)
		silence[fd] = 0
		send(fd, message, 0)
	}
	lines := make(chan string)
	go func() {
		for input := bufio.NewScanner(os.Stdin); input.Scan(); {
			lines <- input.Text()
		}
		close(lines)
	}()
	fmt.Println("begin")
	var until time.Time
	lost := 0
	for {
		for _, event := range poller.wait(10) {
			fd := int(event.Fd)
			n, _ := receive(fd, buffer, 0)
			if n <= 0 {
				syscall.Close(fd)
				delete(silence, fd)
				lost++
				continue
			}
			now := time.Now()
			silence[fd] = longer(silence[fd], now.Sub(repliedAt[fd]))
			repliedAt[fd] = now
			send(fd, message[:n], 0)
		}
		if now := time.Now(); !until.IsZero() && now.After(until) {
			until = time.Time{}
			all := []int64{}
			for fd, longest := range silence {
				all = append(all, int64(longer(longest, now.Sub(repliedAt[fd]))))
			}
			sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
			say(report{"lost": lost, "medianUs": percentile(all, 0.5), "worstUs": percentile(all, 1)})
		}
		select {
		case line, more := <-lines:
			if !more {
				return
			}
			killed := time.Now()
			for _, word := range strings.Fields(line) {
				pid, err := strconv.Atoi(word)
				check(err)
				syscall.Kill(pid, syscall.SIGKILL)
			}
			for fd := range silence {
				silence[fd] = 0
				repliedAt[fd] = killed
			}
			lost = 0
			until = killed.Add(afterKill)
		default:
		}
	}
}

func main() {
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	numbers := make([]int, 3)
	for i := range numbers {
		if len(os.Args) > i+2 {
			number, err := strconv.Atoi(os.Args[i+2])
			check(err)
			numbers[i] = number
		}
	}
	a, b, c := numbers[0], numbers[1], numbers[2]
	switch os.Args[1] {
	case "serve":
		serve(a)
	case "bulk":
		bulk(a, float64(b), c)
	case "trips":
		trips(a, float64(b), c)
	case "connects":
		connects(a, float64(b), c)
	case "idle":
		idle(a, b)
	case "kill":
		kill(a, b)
	}
	// Until its input ends the connections stay: whoever measures looks at those who carry them.
	bufio.NewReader(os.Stdin).ReadString('\n')
}
