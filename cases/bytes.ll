; Loops over buffers in IR that no C compiler generates.

target datalayout = "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128"
target triple = "x86_64-unknown-linux-gnu"

; LLMC: arg sum_words.words elements 64
; LLMC: arg sum_words.count range 0..16

@keystream = internal global [4 x i8] c"\13\37\42\99", align 1

; Fletcher's 16-bit checksum.
define i16 @fletcher(ptr %data, i64 %len) {
entry:
  br label %head

head:
  %i = phi i64 [ 0, %entry ], [ %i.next, %body ]
  %low = phi i32 [ 0, %entry ], [ %low.next, %body ]
  %high = phi i32 [ 0, %entry ], [ %high.next, %body ]
  %more = icmp ult i64 %i, %len
  br i1 %more, label %body, label %done

body:
  %at = getelementptr i8, ptr %data, i64 %i
  %byte = load i8, ptr %at, align 1
  %wide = zext i8 %byte to i32
  %low.sum = add i32 %low, %wide
  %low.next = urem i32 %low.sum, 255
  %high.sum = add i32 %high, %low.next
  %high.next = urem i32 %high.sum, 255
  %i.next = add i64 %i, 1
  br label %head

done:
  %shifted = shl i32 %high, 8
  %both = or i32 %shifted, %low
  %sum = trunc i32 %both to i16
  ret i16 %sum
}

; Encrypt in place with the key in a global, which changes with every byte.
define void @scramble(ptr %data, i64 %len) {
entry:
  %none = icmp eq i64 %len, 0
  br i1 %none, label %done, label %body

body:
  %i = phi i64 [ 0, %entry ], [ %i.next, %body ]
  %slot = and i64 %i, 3
  %key.at = getelementptr [4 x i8], ptr @keystream, i64 0, i64 %slot
  %key = load i8, ptr %key.at, align 1
  %at = getelementptr i8, ptr %data, i64 %i
  %old = load i8, ptr %at, align 1
  %new = xor i8 %old, %key
  store i8 %new, ptr %at, align 1
  %turned = call i8 @llvm.fshl.i8(i8 %key, i8 %key, i8 3)
  store i8 %turned, ptr %key.at, align 1
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %len
  br i1 %more, label %body, label %done

done:
  ret void
}

; The sum of 32-bit words, kept in 64 bits.
define i64 @sum_words(ptr %words, i64 %count) {
entry:
  br label %head

head:
  %i = phi i64 [ %count, %entry ], [ %i.next, %body ]
  %sum = phi i64 [ 0, %entry ], [ %sum.next, %body ]
  %end = icmp eq i64 %i, 0
  br i1 %end, label %done, label %body

body:
  %i.next = add i64 %i, -1
  %at = getelementptr i32, ptr %words, i64 %i.next
  %word = load i32, ptr %at, align 4
  %wide = sext i32 %word to i64
  %sum.next = add i64 %sum, %wide
  br label %head

done:
  ret i64 %sum
}

declare i8 @llvm.fshl.i8(i8, i8, i8)
