; Scalar operations that C can't express: intrinsics, selects, bits of floats, unusual switches.

target datalayout = "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128"
target triple = "x86_64-unknown-linux-gnu"

define i128 @mix_halves(i128 %value, i64 %key) {
  %shifted = lshr i128 %value, 64
  %high = trunc i128 %shifted to i64
  %low = trunc i128 %value to i64
  %a = call i64 @llvm.bswap.i64(i64 %high)
  %b = xor i64 %low, %key
  %a.wide = zext i64 %a to i128
  %b.wide = zext i64 %b to i128
  %top = shl i128 %b.wide, 64
  %sum = add i128 %top, %a.wide
  ret i128 %sum
}

define i64 @saturating_product(i64 %a, i64 %b) {
  %pair = call { i64, i1 } @llvm.umul.with.overflow.i64(i64 %a, i64 %b)
  %product = extractvalue { i64, i1 } %pair, 0
  %over = extractvalue { i64, i1 } %pair, 1
  %result = select i1 %over, i64 -1, i64 %product
  ret i64 %result
}

; The median of three.
define float @median(float %a, float %b, float %c) {
  %a.less = fcmp ult float %a, %b
  %low = select i1 %a.less, float %a, float %b
  %high = select i1 %a.less, float %b, float %a
  %c.high = fcmp ogt float %c, %high
  %c.low = fcmp ult float %c, %low
  %not.high = select i1 %c.high, float %high, float %c
  %middle = select i1 %c.low, float %low, float %not.high
  ret float %middle
}

define zeroext i1 @same_sign(double %a, double %b) {
  %a.bits = bitcast double %a to i64
  %b.bits = bitcast double %b to i64
  %differ = xor i64 %a.bits, %b.bits
  %same = icmp sge i64 %differ, 0
  ret i1 %same
}

define signext i8 @step(i8 signext %state, i1 zeroext %up) {
entry:
  switch i8 %state, label %other [
    i8 0, label %zero
    i8 1, label %one
    i8 2, label %two
    i8 3, label %three
    i8 -128, label %lowest
  ]

zero:
  %from.zero = select i1 %up, i8 1, i8 -128
  br label %done

one:
  %from.one = select i1 %up, i8 3, i8 0
  br label %done

two:
  br label %done

three:
  %from.three = select i1 %up, i8 2, i8 1
  br label %done

lowest:
  br i1 %up, label %done, label %other

other:
  %count = call i8 @llvm.ctpop.i8(i8 %state)
  br label %done

done:
  %next = phi i8 [ %from.zero, %zero ], [ %from.one, %one ], [ 127, %two ], [ %from.three, %three ], [ 0, %lowest ], [ %count, %other ]
  ret i8 %next
}

declare i64 @llvm.bswap.i64(i64)
declare { i64, i1 } @llvm.umul.with.overflow.i64(i64, i64)
declare i8 @llvm.ctpop.i8(i8)
