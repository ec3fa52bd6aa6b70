// A static program of another runtime. `raw` speaks to the kernel only by system calls and sets no
// keepalive, `dial` and `accept` use package net, whose runtime sets its own 15 s. Says `connected` and then
// answers orders, a line each: `options` (SO_KEEPALIVE, time, interval, probes, user timeout) and
// `period SECONDS` (the runtime's own way to set keepalive). Arguments: raw|dial|accept ADDRESS PORT.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

const tcpUserTimeout = 18

var options = [][2]int{
	{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE},
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL},
	{syscall.IPPROTO_TCP, 6}, // TCP_KEEPCNT
	{syscall.IPPROTO_TCP, tcpUserTimeout},
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// An address with a colon is dialled by an IPv6 socket, also ::ffff:127.0.0.1.
func rawConnect(address string, port int) int {
	ip := net.ParseIP(address)
	for _, letter := range address {
		if letter != ':' {
			continue
		}
		fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM, 0)
		check(err)
		to := &syscall.SockaddrInet6{Port: port}
		copy(to.Addr[:], ip.To16())
		check(syscall.Connect(fd, to))
		return fd
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	to := &syscall.SockaddrInet4{Port: port}
	copy(to.Addr[:], ip.To4())
	check(syscall.Connect(fd, to))
	return fd
}

func answerOptions(fd int) {
	for index, option := range options {
		value, err := syscall.GetsockoptInt(fd, option[0], option[1])
		check(err)
		if index > 0 {
			fmt.Print(" ")
		}
		fmt.Print(value)
	}
	fmt.Println()
}

func main() {
	mode, address := os.Args[1], os.Args[2]
	port, err := strconv.Atoi(os.Args[3])
	check(err)
	var connection *net.TCPConn
	fd := -1
	joined := net.JoinHostPort(address, os.Args[3])
	switch mode {
	case "raw":
		fd = rawConnect(address, port)
	case "dial":
		made, err := net.Dial("tcp", joined)
		check(err)
		connection = made.(*net.TCPConn)
	case "accept":
		listener, err := net.Listen("tcp", joined)
		check(err)
		fmt.Println("listening")
		made, err := listener.Accept()
		check(err)
		connection = made.(*net.TCPConn)
	}
	fmt.Println("connected")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var number, seconds int
		var order string
		fmt.Sscan(lines.Text(), &number, &order, &seconds)
		fmt.Printf("=%d ", number)
		if order == "period" {
			err := connection.SetKeepAlivePeriod(time.Duration(seconds) * time.Second)
			fmt.Println(err)
		} else if connection == nil {
			answerOptions(fd)
		} else {
			raw, err := connection.SyscallConn()
			check(err)
			check(raw.Control(func(fd uintptr) { answerOptions(int(fd)) }))
		}
	}
}
